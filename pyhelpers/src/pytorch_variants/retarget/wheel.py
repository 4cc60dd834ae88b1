"""Retarget wheels: a new wheel from an old one, with its own version, name and RECORD.

The format is that of the Python Packaging User Guide, "Binary distribution format".
"""

import mmap
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import IO
from zipfile import ZipFile, ZipInfo

from packaging.version import InvalidVersion, Version

from pytorch_variants.binary.elf import Elf
from pytorch_variants.errors import UserError
from pytorch_variants.files import replacing
from pytorch_variants.retarget.archive import (
    Read,
    Writer,
    check_kinds,
    open_archive,
)
from pytorch_variants.retarget.cut import FILE as CUT_FILE
from pytorch_variants.retarget.cut import Cut, from_text, to_text, with_new
from pytorch_variants.retarget.layout import Rewriting, cut_of
from pytorch_variants.retarget.library import (
    TAKES_ITS_PLACE,
    Library,
    Progress,
    Retargeted,
    account,
    choose,
    plan_library,
    read_library,
)
from pytorch_variants.retarget.nvidia import (
    MOST_METADATA,
    MOST_RECORD,
    WHY_UNTOUCHED,
    bundled_among,
    is_bundled,
    is_shared_library,
    read_distribution,
)
from pytorch_variants.retarget.record import (
    Row,
    rewritten,
    row,
)
from pytorch_variants.retarget.rewrite import (
    BLOCK,
    render,
)

_VERSION_PY = re.compile(r"""(?m)^(__version__\s*(?::\s*str\s*)?=\s*)(["'])(.*?)\2""")


@dataclass(frozen=True)
class RetargetedWheel:
    """The new wheel's path, its size and the old one's in bytes, its libraries, and NVIDIA's in it."""

    path: Path
    before: int
    after: int
    libraries: tuple[Retargeted, ...]
    untouched: tuple[str, ...]


@dataclass(frozen=True)
class _Unpacked:
    """A library that was taken out of the wheel, in a file without a name."""

    library: Library
    elf: Elf
    file: IO[bytes]


def _unpack(archive: ZipFile, info: ZipInfo, scratch: Path) -> _Unpacked | None:
    """Take a library out if there is something to retarget in it."""
    # It has no name, so that nothing is left of a run that is killed.
    file = tempfile.TemporaryFile(dir=scratch)  # noqa: SIM115 (it outlives this function)
    try:
        with archive.open(info) as source:
            while data := source.read(BLOCK):
                file.write(data)
        file.flush()
        if file.tell() != info.file_size:
            raise UserError(f"it has {file.tell()} bytes, and {info.file_size} as the archive says")
        if info.file_size:
            elf = Elf.parse(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            if library := read_library(Path(info.filename), elf):
                return _Unpacked(library, elf, file)
    except UserError as error:
        file.close()
        raise UserError(f"{info.filename}: {error}") from error
    except BaseException:
        file.close()
        raise
    file.close()
    return None


def _libraries(archive: ZipFile, scratch: Path, pool: Executor) -> Iterator[_Unpacked]:
    def take(info: ZipInfo) -> _Unpacked | None:
        path = PurePosixPath(info.filename)
        if not is_shared_library(path) or is_bundled(path):
            return None
        with archive.open(info) as file:
            if file.read(4) != b"\x7fELF":
                return None
        return _unpack(archive, info, scratch)

    # The largest first: they take the longest.
    infos = sorted(archive.infolist(), key=lambda info: -info.file_size)
    yield from (unpacked for unpacked in pool.map(take, infos) if unpacked)


def local_version(version: str, said: str, keep: frozenset[int], keep_ptx: bool) -> str:
    """The version of a retargeted package, as "2.10.0+cu128.sm90".

    `version` is the wheel's and `said` what the package says of itself, which has the CUDA tag where the
    wheel's has none. An earlier retargeting's parts are replaced. Raises InvalidVersion.
    """
    local = Version(version).local or Version(said).local or ""
    parts = [part for part in local.split(".") if part and not re.fullmatch(r"sm\d+|ptx", part)]
    parts += [f"sm{number}" for number in sorted(keep)] + ["ptx"] * keep_ptx
    return f"{Version(version).public}+{'.'.join(parts)}"


@dataclass(frozen=True)
class _Names:
    """What a retargeting changes in a wheel beside its libraries: file names, and whole small files."""

    wheel: str
    paths: Mapping[str, str]
    texts: Mapping[str, str]
    record: str


def _read_bytes(archive: ZipFile, name: str, most: int) -> bytes:
    try:
        size = archive.getinfo(name).file_size
    except KeyError as error:
        raise UserError(f"no {name} in it") from error
    if size > most:
        raise UserError(f"{name} has {size} bytes; {most} is the most that is read")
    data = archive.read(name)
    if len(data) != size:
        raise UserError(f"{name} has {len(data)} bytes, and {size} as the archive says")
    return data


def _read_text(archive: ZipFile, name: str, most: int = MOST_METADATA) -> str:
    try:
        return _read_bytes(archive, name, most).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{name} is not UTF-8: the wheel is damaged") from error


_METADATA = re.compile(r"[^/]+-[^/]+\.dist-info/METADATA")


def _refuse_nvidia(archive: ZipFile) -> None:
    for name in archive.namelist():
        if _METADATA.fullmatch(name):
            distribution = read_distribution(_read_bytes(archive, name, MOST_METADATA))
            if distribution.nvidia:
                terms = f" ({distribution.licence})" if distribution.licence else ""
                raise UserError(f"it is {distribution.name}, which is NVIDIA's{terms}: {WHY_UNTOUCHED}")


def _rename(archive: ZipFile, wheel: str, keep: frozenset[int], keep_ptx: bool) -> _Names:
    entries = archive.namelist()
    infos = {name.split("/")[0] for name in entries if re.match(r"[^/]+-[^/]+\.dist-info/", name)}
    parts = wheel.removesuffix(".whl").split("-")
    if len(infos) != 1 or len(parts) not in (5, 6):
        raise UserError("a wheel has one .dist-info directory and is named NAME-VERSION-TAGS.whl")
    info = infos.pop()
    distribution, old = info.removesuffix(".dist-info").split("-", 1)
    metadata = _read_text(archive, f"{info}/METADATA")
    if not re.search(r"(?m)^Version: ", metadata.partition("\n\n")[0]):
        raise UserError(f"{info}/METADATA has no Version: the wheel is damaged")
    version_py = f"{distribution}/version.py"
    code = _read_text(archive, version_py) if version_py in entries else ""
    said = _VERSION_PY.search(code)
    try:
        new = local_version(old, said[3] if said else old, keep, keep_ptx)
    except InvalidVersion as error:
        raise UserError(str(error)) from error
    head = f"{distribution}-{old}"
    texts = {f"{info}/METADATA": re.sub(r"(?m)^Version: .*$", f"Version: {new}", metadata, count=1)}
    if said:
        texts[version_py] = _VERSION_PY.sub(rf"\g<1>\g<2>{new}\g<2>", code, count=1)
    return _Names(
        wheel="-".join([parts[0], new, *parts[2:]]) + ".whl",
        paths={
            name: f"{distribution}-{new}{name.removeprefix(head)}"
            for name in entries
            if name.startswith((f"{head}.dist-info/", f"{head}.data/"))
        },
        texts={name: text for name, text in texts.items() if text != _read_text(archive, name)},
        record=f"{info}/RECORD",
    )


def _bytes_reader(data: bytes) -> Read:
    return lambda start, stop: data[start:stop]


def _reader(unpacked: _Unpacked, plan: Rewriting) -> Read:
    def read(start: int, stop: int) -> bytes:
        data = bytearray(stop - start)
        render(unpacked.file.fileno(), plan, start, memoryview(data))
        return bytes(data)

    return read


def _cut_files(
    archive: ZipFile, libraries: Sequence[Library], keep: frozenset[int], keep_ptx: bool
) -> dict[str, str]:
    """The files that say what was taken out, by their paths: one in each package with libraries."""
    new: dict[str, dict[str, Cut]] = {}
    for library in libraries:
        package, *rest = PurePosixPath(library.path).parts
        if rest and library.containers:
            name = str(PurePosixPath(*rest))
            new.setdefault(package, {})[name] = cut_of(library.containers, keep, keep_ptx)
    texts, entries = {}, set(archive.namelist())
    for package, cuts in new.items():
        path = f"{package}/{CUT_FILE}"
        old = from_text(_read_bytes(archive, path, MOST_RECORD), path) if path in entries else {}
        known = with_new(old, cuts)
        if known or old:
            texts[path] = to_text(known)
    return texts


def _write(
    archive: ZipFile,
    names: _Names,
    plans: Mapping[str, tuple[_Unpacked, Rewriting]],
    writer: Writer,
) -> None:
    rows: dict[str, Row] = {}
    assert archive.fp
    source = archive.fp.fileno()
    for info in archive.infolist():
        old, new = info.filename, names.paths.get(info.filename, info.filename)
        if old == names.record:
            continue
        if old in plans:
            unpacked, plan = plans[old]
            rows[old] = row(writer.add(info, new, _reader(unpacked, plan), plan.size), plan.size)
        elif old in names.texts:
            data = names.texts[old].encode()
            rows[old] = row(writer.add(info, new, _bytes_reader(data), len(data)), len(data))
        else:
            writer.copy(source, info, new)
    info, new = archive.getinfo(names.record), names.paths.get(names.record, names.record)
    for path in sorted(names.texts.keys() - set(archive.namelist())):
        data = names.texts[path].encode()
        rows[path] = row(writer.add(info, path, _bytes_reader(data), len(data)), len(data))
    # Last, as the format asks for: it has the hashes of all others.
    record = rewritten(_read_text(archive, names.record, MOST_RECORD), rows, names.paths).encode()
    writer.add(info, new, _bytes_reader(record), len(record))


def retarget_wheel(
    source: Path,
    directory: Path,
    wanted: Sequence[int],
    *,
    keep_ptx: bool = False,
    compatible: bool = False,
    in_place: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> RetargetedWheel:
    """Write a wheel with the GPU code for some architectures alone into a directory.

    The new wheel has a local version, as in torch-2.10.0+cu128.sm90-cp311-cp311-manylinux_2_28_x86_64.whl,
    in its METADATA and in the package's version.py. Its entries have the old ones' order, times and modes;
    those that do not change keep their compressed bytes. The same wheel and the same zlib give the same
    bytes. With `in_place` it takes the place of the old one. Libraries are unpacked into files without
    names in `directory`, which has to have room for them. Raises UserError; nothing is written then.
    """
    workers = jobs or os.cpu_count() or 1
    try:
        with open_archive(source) as archive, ExitStack() as stack:
            check_kinds(archive)
            _refuse_nvidia(archive)
            untouched = bundled_among(archive.namelist())
            pool = stack.enter_context(ThreadPoolExecutor(workers))
            found = []
            for unpacked in _libraries(archive, directory, pool):
                stack.callback(unpacked.file.close)
                found.append(unpacked)
            found.sort(key=lambda unpacked: str(unpacked.library.path))
            keep = choose([unpacked.library for unpacked in found], wanted, compatible, "this wheel")
            planned = [(u, plan_library(u.elf, u.library, keep, keep_ptx)) for u in found]
            names = _rename(archive, source.name, keep, keep_ptx)
            cuts = _cut_files(archive, [unpacked.library for unpacked in found], keep, keep_ptx)
            names = replace(names, texts={**names.texts, **cuts})
            target = directory / names.wheel
            if target.exists() and target.samefile(source) and not in_place:
                raise UserError(f"{source}: {TAKES_ITS_PLACE}")
            plans = {str(u.library.path): (u, plan) for u, plan in planned if plan}
            total = sum(info.compress_size for info in archive.infolist() if info.filename not in plans)
            total += sum(plan.size for _, plan in plans.values())
            done = 0

            def count(size: int) -> None:
                nonlocal done
                done += size
                if progress:
                    progress(done, max(total, done))

            before = source.stat()
            with (
                replacing(target, before.st_mode) as file,
                open(file, "w+b", closefd=False) as out,
                Writer(out, pool, 2 * workers, count) as writer,
            ):
                _write(archive, names, plans, writer)
            if in_place and not target.samefile(source):
                source.unlink()
    except UserError as error:
        raise UserError(f"{source}: {error}" if str(source) not in str(error) else str(error)) from error
    except OSError as error:
        raise UserError(f"{error.filename or source}: {error.strerror}") from error
    libraries = tuple(account(u.library, plan) for u, plan in planned if u.library.containers)
    return RetargetedWheel(target, before.st_size, target.stat().st_size, libraries, untouched)
