"""Static verification: is a build what its name says? Reads files and imports torch; needs no GPU."""

import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from pytorch_variants.binary.elf import open_elf
from pytorch_variants.errors import UserError
from pytorch_variants.findings import (
    Finding,
    Origin,
    Policy,
    Report,
    ok,
    wrong,
)
from pytorch_variants.names.variant import Variant
from pytorch_variants.verify.cpu import CpuFacts, check_cpu, read_cpu
from pytorch_variants.verify.environment import (
    Environment,
    ask,
    find_environment,
    read_tree,
)
from pytorch_variants.verify.facts import Candidate, LibraryFacts, Role
from pytorch_variants.verify.gpu import LINKED_INTO, GpuFacts, check_gpu, read_gpu
from pytorch_variants.verify.imports import check_import
from pytorch_variants.verify.linkage import (
    Linkage,
    check_companions,
    check_cuda,
    check_linkage,
    check_one_torch,
    needs_torch,
    read_link,
    read_linkage,
)

__all__ = ["check_files", "read_libraries", "verify"]


def read_library(candidate: Candidate) -> LibraryFacts:
    """Open an ELF file once and read all that the checks decide on."""
    facts = LibraryFacts(candidate.path, candidate.name, candidate.role, candidate.package)
    try:
        with open_elf(candidate.path) as elf:
            named = candidate.path.name
            facts = replace(facts, size=len(elf.data), machine=elf.machine, link=read_link(elf))
            if candidate.role != "nvidia":
                facts = replace(
                    facts, gpu=read_gpu(elf, whose=named in LINKED_INTO), cpu=read_cpu(elf, named)
                )
            elf.forget()
    except UserError as error:
        text = str(error).removeprefix(f"{candidate.path}: ")
        return replace(facts, gpu=GpuFacts(), cpu=CpuFacts(), error=text)
    return facts


def read_libraries(candidates: Iterable[Candidate], pool: Executor) -> tuple[LibraryFacts, ...]:
    """Read libraries in parallel, the largest first, and give them in the order that they came in."""
    order = list(candidates)
    largest = sorted(range(len(order)), key=lambda index: -_size(order[index].path))
    facts = dict(zip(largest, pool.map(read_library, [order[index] for index in largest]), strict=True))
    return tuple(facts[index] for index in range(len(order)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


@dataclass(frozen=True)
class _Files:
    """All that was read of an environment's files."""

    libraries: tuple[LibraryFacts, ...]
    linkage: Linkage
    problems: tuple[tuple[str, str], ...]


def _candidate(environment: Environment, path: Path) -> Candidate:
    if not path.is_relative_to(environment.packages):
        return Candidate(path, str(path), "needed", path.name)
    name = path.relative_to(environment.packages)
    package = name.parts[0].split(".")[0]
    role: Role = "torch" if package == "torch" else "nvidia" if package == "nvidia" else "needed"
    return Candidate(path, str(name), role, package)


def _read_files(environment: Environment) -> _Files:
    tree = read_tree(environment.packages)
    candidates = [_candidate(environment, path) for path in tree.elf]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        libraries = read_libraries([c for c in candidates if c.role != "nvidia"], pool)
    companions = {library.package for library in libraries if needs_torch(library.link)} - {"torch"}
    libraries = tuple(
        replace(library, role="companion") if library.package in companions else library
        for library in libraries
    )
    read: dict[Path, LibraryFacts] = {library.path: library for library in libraries}

    def one(path: Path) -> LibraryFacts:
        if path not in read:
            read[path] = read_library(replace(_candidate(environment, path), role="nvidia"))
        return read[path]

    linkage = read_linkage([library for library in libraries if library.role in ("torch", "companion")], one)
    kept = tuple(dict.fromkeys(item.facts for item in linkage.all))
    problems = [
        (str(path.relative_to(environment.packages)), problem)
        for path, problem in tree.problems
        if path.relative_to(environment.packages).parts[0] in ("torch", *companions)
    ]
    problems += [(library.name, library.error) for library in kept if library.error]
    return _Files(kept, linkage, tuple(problems))


def _check_readable(files: _Files) -> Iterator[Finding]:
    for name, problem in files.problems:
        yield wrong("files", "readable", (), name, problem)
    if not files.problems:
        yield ok("files", "readable", f"{len(files.libraries)} ELF files")


def _check_code(files: _Files, variant: Variant, origin: Origin) -> Iterator[Finding]:
    yield from _check_readable(files)
    yield from check_gpu(files.libraries, variant, origin)
    yield from check_cpu(files.libraries, variant, origin)


def check_files(environment: Environment, variant: Variant, origin: Origin) -> Iterator[Finding]:
    """The rows that are read from the files alone; nothing is run."""
    yield from _check_code(_read_files(environment), variant, origin)


def _check_imports(
    environment: Environment, linkage: Linkage, variant: Variant, origin: Origin
) -> Iterator[Finding]:
    question = {
        "names": linkage.unknown,
        "cuda": linkage.cuda,
        "modules": list(linkage.companions),
        "companions": [str(item.path) for items in linkage.companions.values() for item in items],
    }
    answer = ask(environment.python, "imports", question)
    if isinstance(answer, str):
        yield wrong("import torch", "imports and computes", (), detail=answer)
        answer = {}
    else:
        yield from check_import(variant, origin, answer)
    yield from check_linkage(linkage, answer.get("missing"))
    yield from check_one_torch(environment, linkage, answer.get("loaded", []))
    yield from check_cuda(answer.get("cuda_libraries", {}), answer.get("cuda", variant.cuda))
    yield from check_companions(environment, linkage, answer)


def verify(
    environment: Path, variant: Variant, origin: Origin = Origin.SOURCE, policy: Policy | None = None
) -> Report:
    """Hold an environment's torch against what a variant's name says.

    `environment` is a directory with bin/python and lib/python3.X/site-packages/torch. `origin` says how
    the build was made; one that is not compiled from source is not asked for its CPU flags. Raises
    UserError where there is nothing to check.
    """
    policy = policy or Policy()
    found = find_environment(environment)
    files = _read_files(found)
    rows: Sequence[Finding] = (
        *_check_code(files, variant, origin),
        *_check_imports(found, files.linkage, variant, origin),
    )
    return Report(variant.name, origin, tuple(policy.apply(rows)), policy)
