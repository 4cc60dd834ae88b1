"""A directory of single-GPU wheels that any static web server serves to uv and to pip.

DIR/variants/ is a simple index of variant wheels, from which uv picks the one for the GPU that it finds.
DIR/sm90/ and its like are simple indexes of one GPU each, for pip: the same wheels under a local version.
DIR/wheels.json says what is there. Whatever a page links is whole.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from shutil import rmtree

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from pytorch_variants.errors import UserError
from pytorch_variants.files import locked, write_text
from pytorch_variants.index.catalogue import File, Wheel, read_catalogue, write_catalogue
from pytorch_variants.index.fetch import check, download, find, options
from pytorch_variants.index.pages import write_pages
from pytorch_variants.index.variant import (
    VARIANTS,
    label,
    needed_cuda,
    parse_metadata,
    read_metadata,
    variant_name,
    write_variant,
)
from pytorch_variants.retarget import RetargetOptions, retarget_path
from pytorch_variants.retarget.library import Progress

# Wheels that pip has fetched, until their work is done; no page links them.
_FETCHED = ".fetched"

# What follows the work on a wheel and a GPU, which it is told by a text for people.
Follow = Callable[[str], Progress | None]


@dataclass(frozen=True)
class Listed:
    """A wheel of the index, and whether this run made it."""

    wheel: Wheel
    made: bool


@dataclass(frozen=True)
class _Source:
    """An official wheel: its name and hash, and how to get it."""

    name: str
    sha256: str
    get: Callable[[], Path]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(directory: Path, path: Path) -> File:
    """A finished wheel; its METADATA is put beside it, so that nobody has to fetch the wheel to read that.

    https://peps.python.org/pep-0658/
    """
    metadata = read_metadata(path)
    write_text(path.with_name(f"{path.name}.metadata"), metadata)
    return File(
        path=path.relative_to(directory).as_posix(),
        size=path.stat().st_size,
        sha256=_sha256(path),
        metadata=hashlib.sha256(metadata.encode()).hexdigest(),
    )


def _make(
    directory: Path, source: _Source, gpu: int, compatible: bool, have: Sequence[Wheel], follow: Follow
) -> Wheel:
    """Both wheels of one package for one GPU."""
    try:
        package, version, *_ = parse_wheel_filename(source.name)
    except InvalidWheelFilename as error:
        raise UserError(f"{error}; write the name as it was published") from error
    path = source.get()
    metadata = parse_metadata(read_metadata(path))
    cuda = needed_cuda(metadata)
    for other in have:
        if (other.package, other.version, other.gpu) == (package, str(version), gpu) and other.cuda != cuda:
            # One label stands for the same properties in all wheels of a version.
            raise UserError(
                f"{source.name} needs CUDA {cuda or 'of any release'}, and {other.source}, of the same "
                f"version, CUDA {other.cuda or 'of any release'}: write it into another directory"
            )
    plain_place, variant_place = (directory / index / package for index in (label(gpu), VARIANTS))
    plain_place.mkdir(parents=True, exist_ok=True)
    variant_place.mkdir(parents=True, exist_ok=True)
    how = RetargetOptions((gpu,), compatible=compatible, output=plain_place)
    plain = retarget_path(path, how, follow(f"{source.name} for {label(gpu)}")).result
    variant = variant_place / variant_name(source.name, gpu)
    write_variant(path, plain, variant, gpu, cuda)
    return Wheel(
        package=package,
        version=str(version),
        gpu=gpu,
        cuda=cuda,
        requires_python=metadata.get("Requires-Python", ""),
        source=source.name,
        source_size=path.stat().st_size,
        source_sha256=source.sha256,
        plain=_file(directory, plain),
        variant=_file(directory, variant),
    )


def _sources(what: Sequence[str], choices: Sequence[Sequence[str]], fetched: Path) -> Iterator[_Source]:
    """The official wheels, each when its turn comes; what pip fetched goes when the next one is asked for."""
    for text in what:
        if text.endswith(".whl"):
            yield _Source(Path(text).name, _sha256(Path(text)), partial(Path, text))
            continue
        for how in choices:
            found = find(text, how)
            get = cache(partial(download, found, fetched, how))
            yield _Source(found.file, found.sha256 or _sha256(get()), get)
            (fetched / found.file).unlink(missing_ok=True)


def build_index(
    directory: Path,
    what: Sequence[str],
    gpus: Sequence[int],
    *,
    compatible: bool = False,
    pythons: Sequence[str] = (),
    platforms: Sequence[str] = (),
    follow: Follow = lambda _: None,
) -> list[Listed]:
    """Bring into an index what is missing of some packages, as wheels for one GPU each.

    `what` are paths of official wheels, or requirements that pip fetches wheels for: for this machine, or
    for Python versions ("3.12") and platforms. GPUs are numbers, 90 for sm_90; with `compatible`, one that
    a package has no code for gets the code that runs on it. After each wheel the index is whole. Raises
    UserError and OSError.
    """
    choices = options(pythons, platforms)
    for text in what:
        if not text.endswith(".whl"):
            check(text)
        elif not Path(text).is_file():
            raise UserError(f"{text}: no such file; write the path of a wheel, or torch==2.10.0")
    directory.mkdir(parents=True, exist_ok=True)
    listed, fetched = [], directory / _FETCHED
    with locked(directory):
        wheels = read_catalogue(directory)
        write_pages(directory, wheels)
        for source in _sources(what, choices, fetched):
            for gpu in dict.fromkeys(gpus):
                old = [wheel for wheel in wheels if (wheel.source, wheel.gpu) == (source.name, gpu)]
                made = [wheel.source_sha256 for wheel in old] != [source.sha256]
                if made:
                    others = [wheel for wheel in wheels if wheel not in old]
                    old = [_make(directory, source, gpu, compatible, others, follow)]
                    wheels = [*others, *old]
                    write_catalogue(directory, wheels)
                    write_pages(directory, wheels)
                listed.append(Listed(old[0], made))
        if fetched.is_dir():
            rmtree(fetched)
    return listed
