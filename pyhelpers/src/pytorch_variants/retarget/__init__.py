"""Cut the GPU code of wheels, installed packages and libraries down to some architectures.

`retarget_path` takes any of them. The rest of this package is its parts: `library` is one library, `wheel` an
archive of some, `installed` a directory of them; `layout` plans where every byte of a library goes and
`rewrite` writes it.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from pytorch_variants.binary.elf import open_elf
from pytorch_variants.errors import UserError
from pytorch_variants.retarget.installed import (
    packages_in,
    retarget_directory,
)
from pytorch_variants.retarget.library import (
    TAKES_ITS_PLACE,
    Progress,
    Retargeted,
    choose,
    read_library,
    retarget_file,
)
from pytorch_variants.retarget.nvidia import (
    WHY_UNTOUCHED,
    bundled_among,
    installed_by_nvidia,
    is_bundled,
)
from pytorch_variants.retarget.wheel import retarget_wheel

__all__ = ["WHY_UNTOUCHED", "Account", "Options", "retarget_path"]


@dataclass(frozen=True)
class Account:
    """What became of one wheel, directory or file; sizes are bytes, of a directory its libraries' sum.

    `untouched` are NVIDIA's libraries in it.
    """

    source: Path
    result: Path
    before: int
    after: int
    seconds: float
    libraries: tuple[Retargeted, ...]
    untouched: tuple[str, ...]


@dataclass(frozen=True)
class RetargetOptions:
    """What to keep and where to write: `wanted` has architectures as numbers, 90 for sm_90.

    With `keep_ptx` their PTX is kept too; with `compatible`, for an architecture without code what runs on
    it. New files go into the directory `output`, else the current one; with `in_place` the files themselves
    are changed.
    """

    wanted: tuple[int, ...]
    keep_ptx: bool = False
    compatible: bool = False
    in_place: bool = False
    output: Path | None = None


def _directory(path: Path, options: RetargetOptions, progress: Progress | None) -> tuple[Retargeted, ...]:
    if options.output or not options.in_place:
        raise UserError(f"{path}: an installed package is changed where it is: say so with --in-place")
    return retarget_directory(
        path,
        options.wanted,
        keep_ptx=options.keep_ptx,
        compatible=options.compatible,
        progress=progress,
    )


def _refuse_nvidia(path: Path) -> None:
    if distribution := installed_by_nvidia(path):
        terms = f" ({distribution.licence})" if distribution.licence else ""
        raise UserError(f"{path}: it is of {distribution.name}, which is NVIDIA's{terms}: {WHY_UNTOUCHED}")


def _file(path: Path, options: RetargetOptions) -> Retargeted:
    if is_bundled(path):
        raise UserError(f"{path}: {WHY_UNTOUCHED}")
    target = path if options.in_place else (options.output or Path.cwd()) / path.name
    if target.exists() and target.samefile(path) and not options.in_place:
        raise UserError(f"{path}: {TAKES_ITS_PLACE}")
    with open_elf(path) as elf:
        library = read_library(path, elf)
    keep = choose([library] if library else [], options.wanted, options.compatible, f"{path}: it")
    return retarget_file(path, target, keep, keep_ptx=options.keep_ptx)


def retarget_path(path: Path, options: RetargetOptions, progress: Progress | None = None) -> Account:
    """Retarget a wheel, an installed package, an environment or one library.

    A wheel or a library is written to `options.output`, else the current directory. Raises UserError.
    """
    start = time.perf_counter()
    if path.suffix != ".whl":
        _refuse_nvidia(path)
    if options.output and options.in_place:
        raise UserError("--in-place and -o exclude each other")
    if options.output:
        try:
            options.output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{options.output}: {error.strerror}") from error
    untouched: tuple[str, ...] = ()
    if path.is_dir():
        libraries = _directory(path, options, progress)
        result, before = path, sum(library.before for library in libraries)
        after = sum(library.after for library in libraries)
        inside = (str(found) for package in packages_in(path) for found in package.rglob("*.so*"))
        untouched = bundled_among(inside)
    elif path.suffix == ".whl":
        wheel = retarget_wheel(
            path,
            path.parent if options.in_place else options.output or Path.cwd(),
            options.wanted,
            keep_ptx=options.keep_ptx,
            compatible=options.compatible,
            in_place=options.in_place,
            progress=progress,
        )
        result, before, after, libraries = wheel.path, wheel.before, wheel.after, wheel.libraries
        untouched = wheel.untouched
    else:
        libraries = (_file(path, options),)
        result, before, after = libraries[0].path, libraries[0].before, libraries[0].after
    seconds = round(time.perf_counter() - start, 3)
    return Account(path, result, before, after, seconds, libraries, untouched)
