"""What any wheel, library, package or environment needs of GPU and CPU, without a variant's name.

A wheel is read without being unpacked: libraries are inflated into memory, one for each process. What ends
such a process, as a file does that is cut short while it is read, ends as a row.
"""

import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, Self
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from pytorch_variants.binary.cubin import ELF_MAGIC, cubin_target, is_cubin
from pytorch_variants.binary.elf import HEADER, Elf, open_regular
from pytorch_variants.binary.fatbin import is_bare
from pytorch_variants.binary.instructions import allowed
from pytorch_variants.errors import UserError
from pytorch_variants.hardware.compatibility import runs_on
from pytorch_variants.hardware.table import Gpu, gpus
from pytorch_variants.machine.cores import usable_cores
from pytorch_variants.retarget.archive import entry_start, open_archive
from pytorch_variants.retarget.nvidia import (
    MOST_METADATA,
    Distribution,
    is_bundled,
    nvidia_files,
    read_distribution,
)
from pytorch_variants.verify.cpu import CpuFacts, read_cpu
from pytorch_variants.verify.environment import all_files
from pytorch_variants.verify.gpu import CodeFacts, ContainerFacts, GpuFacts, code_names, read_gpu, read_raw

SCHEMA = 1
_HEAD = 64
_PACKED_HEAD = 1024  # what surely has as much once it is unpacked: deflate begins with its codes
# What is larger is not inflated into memory.
_MOST_INFLATED = 4 << 30
# What is inflated at a time, and of how much: it should stay near the processor.
MOST_AT_A_TIME, _BLOCK = 1 << 18, 1 << 16

Verdict = Literal["runs", "compiles", "part", "fails", "none"]


@dataclass(frozen=True)
class Answer:
    """Whether a GPU runs one library's code.

    "runs": by machine code. "compiles": the driver compiles PTX of `lacking` of the `containers`. "part":
    `lacking` of them have nothing for it, and end in "no kernel image is available". "fails": all of them do.
    "none": there is no GPU code.
    """

    gpu: str
    verdict: Verdict
    lacking: int = 0
    containers: int = 0


@dataclass(frozen=True)
class Inspected:
    """One library, or `files` bare cubins of one directory.

    `path` is below what was asked about. `owner` is "NVIDIA" or nothing. `architectures` has sm_90a, `ptx`
    PTX_90, `other` what is for the device linker alone. `gpus` are those of the hardware table that run all
    of it, with or without PTX. `cpu` has the instruction sets that its code needs beyond what every CPU of
    its machine has, `cpu_chosen` those that it uses where it finds them. `problem` is a line.
    """

    path: str
    size: int
    machine: str = ""
    owner: str = ""
    files: int = 1
    containers: int = 0
    architectures: tuple[str, ...] = ()
    ptx: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    gpus: tuple[str, ...] = ()
    cpu: tuple[str, ...] = ()
    cpu_chosen: tuple[str, ...] = ()
    asked: tuple[Answer, ...] = ()
    problem: str = ""


@dataclass(frozen=True)
class Inspection:
    """What was found in one path; `gpus` are those that run all of its GPU code that is not NVIDIA's own."""

    path: Path
    libraries: tuple[Inspected, ...]
    gpus: tuple[str, ...] = ()
    asked: tuple[Answer, ...] = ()

    @property
    def failing(self) -> bool:
        """Whether a GPU that was asked about lacks code, or something could not be read."""
        return any(answer.verdict in ("part", "fails") for answer in self.asked) or any(
            library.problem for library in self.libraries
        )


def _runs(container: ContainerFacts, gpu: Gpu, kinds: Iterable[str]) -> bool:
    return any(
        code.kind in kinds and runs_on(code.kind, code.arch, code.suffix, gpu.number)
        for code in container.codes
    )


def answer(gpu: Gpu, containers: Sequence[ContainerFacts]) -> Answer:
    """Whether a GPU runs code of these containers.

    One without functions is never called; one with nothing but code for single architectures (sm_90a) on
    these alone, if there is other code.
    """
    filled = [container for container in containers if any(code.functions for code in container.codes)]
    general = [container for container in filled if any(not code.suffix for code in container.codes)]
    judged = general or filled
    if not judged:
        return Answer(gpu.name, "none")
    lacking = sum(not _runs(container, gpu, ("cubin", "ptx")) for container in judged)
    if lacking:
        return Answer(gpu.name, "part" if lacking < len(judged) else "fails", lacking, len(judged))
    compiled = sum(not _runs(container, gpu, ("cubin",)) for container in judged)
    return Answer(gpu.name, "compiles" if compiled else "runs", compiled, len(judged))


@dataclass(frozen=True)
class _Item:
    """A file to read: by its path in the file system or, of an archive, the entry's place."""

    name: str
    source: Path
    size: int
    owner: str
    start: int = 0
    packed: int = 0
    deflated: bool | None = None
    crc: int = 0


@dataclass(frozen=True)
class _Facts:
    """What a process has read of an item."""

    machine: str = ""
    gpu: GpuFacts = field(default_factory=GpuFacts)
    cpu: CpuFacts = field(default_factory=CpuFacts)
    problem: str = ""


class _Memory(mmap.mmap):
    """Memory that no file stands behind, in large pages: to fill it takes a third of the time."""

    def __new__(cls, size: int) -> Self:
        memory = super().__new__(cls, -1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        # Linux alone has it, and may be built without.
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):
                memory.madvise(mmap.MADV_HUGEPAGE)
        return memory


def _inflate(item: _Item, file: int) -> _Memory:
    """An entry of an archive, in memory."""
    if item.size > _MOST_INFLATED:
        raise UserError(f"{item.size} bytes once unpacked; {_MOST_INFLATED} is the most that is read")
    memory = _Memory(item.size)
    place, end = item.start, item.start + item.packed
    inflater = zlib.decompressobj(-zlib.MAX_WBITS) if item.deflated else None
    crc = 0
    while place < end:
        data = os.pread(file, min(_BLOCK, end - place), place)
        if not data:
            raise UserError("the archive ends too early")
        place += len(data)
        full = True
        while full:
            # One byte more than there should be shows that there is more.
            room = item.size - memory.tell() + 1
            most = min(room, MOST_AT_A_TIME)
            out = inflater.decompress(data, most) if inflater else data
            data = inflater.unconsumed_tail if inflater else b""
            if len(out) >= room:
                raise UserError(f"it has more than the {item.size} bytes that the archive says")
            crc = zlib.crc32(out, crc)
            memory.write(out)
            # What has not found room may come of bytes that are consumed.
            full = inflater is not None and not inflater.eof and (bool(data) or len(out) == most)
    if memory.tell() != item.size or crc != item.crc:
        raise UserError("it is damaged: its checksum is not the archive's")
    return memory


@contextmanager
def _contents(item: _Item) -> Iterator[memoryview]:
    file = open_regular(item.source)
    try:
        mapped: mmap.mmap
        if item.deflated is not None:
            mapped = _inflate(item, file)
        else:
            mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ)
    finally:
        os.close(file)
    view = memoryview(mapped)
    try:
        yield view
    finally:
        view.release()


def _read(item: _Item) -> _Facts:
    """What a worker process does."""
    machine = ""
    try:
        with _contents(item) as data:
            if bytes(data[:4]) != ELF_MAGIC:
                return _Facts(gpu=read_raw(data))
            elf = Elf.parse(data)
            machine, named = elf.machine, PurePosixPath(item.name).name
            # Instructions of what is NVIDIA's are chosen by NVIDIA, at run time.
            cpu = CpuFacts() if item.owner or machine == "CUDA" else read_cpu(elf, named)
            return _Facts(machine, read_gpu(elf), cpu)
    except UserError as error:
        return _Facts(machine, problem=str(error))
    except OSError as error:
        return _Facts(machine, problem=error.strerror or str(error))
    except zlib.error:
        return _Facts(machine, problem="it is damaged: it does not unpack")
    except MemoryError:
        return _Facts(machine, problem="it takes more memory than there is")


def _gpu_code(name: str, head: bytes) -> bool:
    """Whether a file is one to read: an ELF file, a fat binary or PTX text."""
    return head.startswith(ELF_MAGIC) or is_bare(name, head)


def _wheel_heads(archive: ZipFile) -> Iterator[tuple[ZipInfo, int, bytes]]:
    """The entries, the places of their bytes and the first of these, unpacked."""
    assert archive.fp
    file = archive.fp.fileno()
    for info in archive.infolist():
        if info.is_dir() or info.flag_bits & 1 or info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
            continue
        start = entry_start(file, info)
        data = os.pread(file, min(_PACKED_HEAD, info.compress_size), start)
        if info.compress_type == ZIP_DEFLATED:
            try:
                data = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _HEAD)
            except zlib.error:
                data = b""
        yield info, start, data[:_HEAD]


def _wheel_distribution(archive: ZipFile) -> Distribution | None:
    for info in archive.infolist():
        path = PurePosixPath(info.filename)
        known = len(path.parts) == 2 and path.parts[0].endswith(".dist-info") and path.name == "METADATA"
        if known and info.file_size <= MOST_METADATA and not info.flag_bits & 1:
            return read_distribution(archive.read(info))
    return None


@dataclass(frozen=True)
class _Work:
    """What there is to read: items, and the bare cubins of each directory, whose headers say it all."""

    items: list[_Item] = field(default_factory=list)
    cubins: dict[str, list[tuple[int, CodeFacts]]] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def cubin(self, name: str, inside: str, size: int, head: bytes) -> bool:
        """Take a cubin by its header; those of one directory of a package belong together.

        `inside` is the part of its name that is below site-packages.
        """
        if not is_cubin(head) or len(head) < HEADER.size:
            return False
        target = cubin_target(head)
        kind: Literal["object", "cubin"] = "object" if target.relocatable else "cubin"
        # ptxas of CUDA 13 leaves the suffix out of the header.
        code = CodeFacts(kind, target.arch, target.suffix or "", size)
        directory = "/".join(PurePosixPath(inside).parts[:-1][:2])
        group = f"{name.removesuffix(inside)}{directory}" or "."
        self.cubins.setdefault(group, []).append((size, code))
        return True


def _in_wheel(path: Path) -> _Work:
    work = _Work()
    with open_archive(path) as archive:
        distribution = _wheel_distribution(archive)
        nvidia = bool(distribution and distribution.nvidia)
        for info, start, head in _wheel_heads(archive):
            name = info.filename
            if work.cubin(name, name, info.file_size, head) or not _gpu_code(name, head):
                continue
            owner = "NVIDIA" if nvidia or is_bundled(PurePosixPath(name)) else ""
            deflated = info.compress_type == ZIP_DEFLATED
            work.items.append(
                _Item(name, path, info.file_size, owner, start, info.compress_size, deflated, info.CRC)
            )
    return work


def _in_directory(path: Path) -> _Work:
    work = _Work()
    # Of an environment what its Python imports; else all.
    sites = sorted(path.glob("lib/python3*/site-packages")) or [path]
    for site in sites:
        nvidia = nvidia_files(site)
        files, problems = all_files(site)
        work.problems.extend((str(place.relative_to(path)), text) for place, text in problems)
        for place in files:
            name, inside = place.relative_to(path).as_posix(), place.relative_to(site).as_posix()
            try:
                file = open_regular(place)
                try:
                    head, size = os.pread(file, _HEAD, 0), os.fstat(file).st_size
                finally:
                    os.close(file)
            except (OSError, UserError) as error:
                work.problems.append((name, getattr(error, "strerror", None) or str(error)))
                continue
            if work.cubin(name, inside, size, head) or not _gpu_code(name, head):
                continue
            owner = "NVIDIA" if inside in nvidia or is_bundled(PurePosixPath(inside)) else ""
            work.items.append(_Item(name, place, size, owner))
    return work


def _work(path: Path) -> _Work:
    if path.is_dir():
        return _in_directory(path)
    try:
        file = open_regular(path)
        try:
            head, size = os.pread(file, _HEAD, 0), os.fstat(file).st_size
        finally:
            os.close(file)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a wheel, a library or a directory") from error
    except UserError as error:
        raise UserError(f"{path}: {error}; name a wheel, a library or a directory") from error
    if head[:4] == b"PK\3\4":
        return _in_wheel(path)
    if not _gpu_code(path.name, head):
        raise UserError(f"{path}: no wheel, no library and no GPU code: name one of these, or a directory")
    owner = "NVIDIA" if is_bundled(PurePosixPath(path.name)) else ""
    return _Work([_Item(path.name, path, size, owner)])


def _all(items: Sequence[_Item], jobs: int) -> Iterator[tuple[_Item, _Facts]]:
    """Read the items, the largest first; what ends a process ends as a row."""
    waiting = sorted(items, key=lambda item: -item.size)
    while waiting:
        with ProcessPoolExecutor(min(jobs, len(waiting))) as pool:
            started = list[tuple[_Item, Future[_Facts]]]()
            # A pool whose process has ended by then takes no more.
            with suppress(BrokenProcessPool):
                for item in waiting:
                    started.append((item, pool.submit(_read, item)))
            again = waiting[len(started) :]
            for item, future in started:
                try:
                    yield item, future.result()
                except BrokenProcessPool:
                    again.append(item)
        if len(again) == len(waiting):
            # One of them ends its process: each is tried by itself.
            if len(again) == 1:
                yield again[0], _Facts(problem="it ended the process that read it: did it change meanwhile?")
                return
            for item in again:
                yield from _all([item], 1)
            return
        waiting = again


def _inspected(item: _Item, facts: _Facts, asked: Sequence[Gpu]) -> Inspected:
    loadable = [container for container in facts.gpu.loadable if container.codes]
    codes = facts.gpu.codes
    bad = [code.problem for code in codes if code.problem]
    problem = facts.problem or next(iter((*facts.gpu.damaged, *bad)), "")
    rest = [c for container in facts.gpu.containers if container.linker_input for c in container.codes]
    return Inspected(
        path=item.name,
        size=item.size,
        machine=facts.machine,
        owner=item.owner,
        containers=len(loadable),
        architectures=code_names(code for code in codes if code.kind == "cubin"),
        ptx=code_names(code for code in codes if code.kind == "ptx"),
        other=code_names([*rest, *(code for code in codes if code.kind in ("lto", "object"))]),
        gpus=_running(loadable),
        cpu=tuple(need.feature for need in facts.cpu.needs if need.feature not in allowed(())),
        cpu_chosen=tuple(feature for feature in facts.cpu.chosen if feature not in allowed(())),
        asked=tuple(answer(gpu, loadable) for gpu in asked),
        problem=problem,
    )


def _running(containers: Sequence[ContainerFacts]) -> tuple[str, ...]:
    return tuple(
        gpu.name for gpu in gpus().values() if answer(gpu, containers).verdict in ("runs", "compiles")
    )


def _bare(name: str, found: Sequence[tuple[int, CodeFacts]], asked: Sequence[Gpu]) -> Inspected:
    """The cubins of one directory: programs choose one of them, so that any that runs is enough."""
    together = [ContainerFacts(0, "", tuple(dict.fromkeys(code for _, code in found)))]
    return Inspected(
        path=name,
        size=sum(size for size, _ in found),
        machine="CUDA",
        files=len(found),
        containers=len(found),
        architectures=code_names(code for _, code in found if code.kind == "cubin"),
        other=code_names(code for _, code in found if code.kind != "cubin"),
        gpus=_running(together),
        asked=tuple(answer(gpu, together) for gpu in asked),
    )


def _together(gpu: str, libraries: Sequence[Inspected]) -> Answer:
    """What a GPU does with all of them."""
    answers = [a for library in libraries for a in library.asked if a.gpu == gpu]
    total = sum(a.containers for a in answers)
    if failing := [a for a in answers if a.verdict in ("part", "fails")]:
        lacking = sum(a.lacking for a in failing)
        return Answer(gpu, "part" if lacking < total else "fails", lacking, total)
    if not total:
        return Answer(gpu, "none")
    compiled = sum(a.lacking for a in answers)
    return Answer(gpu, "compiles" if compiled else "runs", compiled, total)


def inspect_path(
    path: Path,
    asked: Sequence[Gpu] = (),
    *,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Read a wheel, a library, GPU code, or all that is in a directory. Raises UserError where there is none.

    `asked` are GPUs to answer for. `jobs` libraries are read at a time.
    """
    work = _work(path)
    total, done = sum(item.size for item in work.items), 0
    rows = []
    for item, facts in _all(work.items, jobs or usable_cores()):
        rows.append(_inspected(item, facts, asked))
        done += item.size
        if progress:
            progress(done, total)
    rows += [_bare(name, found, asked) for name, found in work.cubins.items()]
    rows += [Inspected(name, 0, problem=problem) for name, problem in work.problems]
    if not rows:
        raise UserError(f"{path}: no library and no GPU code in it; name another wheel, library or directory")
    rows.sort(key=lambda row: row.path)
    own = [row for row in rows if row.containers and not row.owner]
    running = [set(row.gpus) for row in own]
    common = set.intersection(*running) if running else set()
    return Inspection(
        path=path,
        libraries=tuple(rows),
        gpus=tuple(name for name in gpus() if name in common),
        asked=tuple(_together(gpu.name, own) for gpu in asked),
    )
