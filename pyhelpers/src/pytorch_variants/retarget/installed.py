"""Retarget installed packages of PyTorch's where they are."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytorch_variants.binary.elf import open_elf
from pytorch_variants.errors import UserError
from pytorch_variants.files import replacing
from pytorch_variants.retarget.cut import FILE as CUT_FILE
from pytorch_variants.retarget.cut import read_cuts, to_text, with_new
from pytorch_variants.retarget.layout import cut_of
from pytorch_variants.retarget.library import (
    Library,
    Progress,
    Retargeted,
    account,
    available,
    choose,
    naming,
    plan_library,
    read_library,
)
from pytorch_variants.retarget.nvidia import is_bundled, is_shared_library
from pytorch_variants.retarget.record import update_records
from pytorch_variants.retarget.rewrite import write

# The packages of an environment that are PyTorch's own.
OWN = ("torch", "torchvision", "torchaudio")


def read_directory(directory: Path) -> Iterator[Library]:
    """What there is to retarget in an installed package, flags last. Raises UserError."""
    found = []
    for path in sorted(directory.rglob("*.so*")):
        name = path.relative_to(directory.parent)
        if not is_shared_library(path) or path.is_symlink() or not path.is_file() or is_bundled(name):
            continue
        with path.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        with open_elf(path) as elf:
            try:
                library = read_library(path, elf)
            except UserError as error:
                raise UserError(f"{path}: {error}") from error
        if library:
            found.append(library)
    # A run that was cut off is taken up where it stopped, by what PyTorch says of itself.
    return iter(sorted(found, key=lambda library: library.flags is not None))


def architectures(torch_dir: Path) -> tuple[int, ...]:
    """The architectures that an installed package of PyTorch's is built for, as available() counts them.

    `torch_dir` is .../site-packages/torch. Raises UserError where that is not a CUDA build.
    """
    have = available(read_directory(torch_dir))
    if not have:
        raise UserError(f"{torch_dir}: no GPU code in it; is this a CUDA build?")
    return have


def packages_in(directory: Path) -> tuple[Path, ...]:
    """The installed packages of PyTorch's that a directory is or has: a package, site-packages, a venv.

    Raises UserError where there is none.
    """
    if directory.name in OWN or (directory / "__init__.py").exists():
        return (directory,)
    sites = [directory, *sorted(directory.glob("lib/python3*/site-packages"))]
    found = tuple(site / name for site in sites for name in OWN if (site / name).is_dir())
    if not found:
        raise UserError(
            f"{directory}: no {', '.join(OWN[:-1])} or {OWN[-1]} in it: "
            "name such a package, site-packages or an environment"
        )
    return found


def _rewrite(library: Library, keep: frozenset[int], keep_ptx: bool) -> Retargeted:
    with naming(library.path, library.path):
        with open_elf(library.path) as elf:
            plan = plan_library(elf, library, keep, keep_ptx)
        if plan:
            write(library.path, library.path, plan)
    return account(library, plan)


def _write_cuts(
    packages: Sequence[Path], work: Sequence[tuple[Library, frozenset[int]]], keep_ptx: bool
) -> Iterator[tuple[Path, Path]]:
    """Say beside each package what was taken out of it: the file, and one of the package's own."""
    for package in packages:
        inside = [(library, keep) for library, keep in work if library.path.is_relative_to(package)]
        new = {
            library.path.relative_to(package).as_posix(): cut_of(library.containers, keep, keep_ptx)
            for library, keep in inside
            if library.containers
        }
        old, path = read_cuts(package), package / CUT_FILE
        known = with_new(old, new)
        if known and known != old:
            with (
                replacing(path, 0o644) as descriptor,
                open(descriptor, "w", encoding="utf-8", closefd=False) as file,
            ):
                file.write(to_text(known))
        if known:
            yield path, inside[0][0].path


def retarget_directory(
    directory: Path,
    keep: Sequence[int],
    *,
    keep_ptx: bool = False,
    compatible: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> tuple[Retargeted, ...]:
    """Retarget every library of installed PyTorch packages in place, and the list that PyTorch has of them.

    `directory` is what packages_in() takes. NVIDIA's libraries stay as they are. `jobs` libraries are
    worked on at a time. The packages' RECORDs follow; their versions stay. Raises UserError, before
    anything is changed, for an architecture that a package is not built for.
    """
    work: list[tuple[Library, frozenset[int]]] = []
    packages = packages_in(directory)
    for package in packages:
        libraries = list(read_directory(package))
        if libraries or package == directory:
            what = "this PyTorch" if package.name == "torch" else f"this {package.name}"
            try:
                wanted = choose(libraries, keep, compatible, what)
            except UserError as error:
                raise UserError(f"{package}: {error}") from error
            work += [(library, wanted) for library in libraries]
    # First: a run that is cut off can say later what it took out, and not what it had taken out before.
    added = dict(_write_cuts(packages, work, keep_ptx))
    results: list[Retargeted] = []
    total, done = sum(library.size for library, _ in work), 0
    with ThreadPoolExecutor(jobs or os.cpu_count() or 1) as pool:
        for speaking in (False, True):
            part = [(library, wanted) for library, wanted in work if bool(library.flags) == speaking]
            for result in pool.map(lambda job: _rewrite(job[0], job[1], keep_ptx), part):
                done += result.before
                if not speaking:
                    results.append(result)
                if progress:
                    progress(done, total)
    for site in sorted({package.parent for package in packages}):
        update_records(site, [library.path for library, _ in work], added)
    return tuple(results)
