"""Static verification: is a build what its name says? Reads files and imports torch; needs no GPU."""

import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from packaging.markers import default_environment
from packaging.utils import canonicalize_name

from pytorch_variants.binary.elf import open_elf
from pytorch_variants.errors import UserError
from pytorch_variants.findings import (
    Finding,
    Origin,
    Policy,
    Report,
    note,
    ok,
    wrong,
)
from pytorch_variants.machine.cores import usable_cores
from pytorch_variants.names.variant import Variant, refuse_unbuilt
from pytorch_variants.retarget.cut import cuts_of
from pytorch_variants.retarget.nvidia import is_bundled
from pytorch_variants.verify.cpu import check_cpu, read_cpu
from pytorch_variants.verify.distributions import (
    Distribution,
    Distributions,
    read_distributions,
)
from pytorch_variants.verify.environment import (
    Environment,
    Tree,
    ask_where,
    converse,
    find_environment,
    read_tree,
)
from pytorch_variants.verify.facts import Candidate, LibraryFacts, Role
from pytorch_variants.verify.gpu import LINKED_INTO, check_gpu, read_gpu
from pytorch_variants.verify.imports import check_import
from pytorch_variants.verify.linkage import (
    Linkage,
    check_companions,
    check_cuda,
    check_glibc,
    check_linkage,
    check_loaded,
    check_one_torch,
    check_parts,
    check_programs,
    loadable,
    needs_torch,
    optional,
    read_link,
    read_linkage,
    real_place,
    torch_stems,
)
from pytorch_variants.verify.wholeness import Wholeness, check_wholeness, read_wholeness

__all__ = ["check_files", "read_libraries", "read_library", "verify"]

# Seconds without an answer after which the environment's Python is ended. A step of it is one import.
PATIENCE = 90.0
_CPUS = ("x86_64", "aarch64")


def _facts(candidate: Candidate) -> LibraryFacts:
    facts = LibraryFacts(candidate.path, candidate.name, candidate.role, candidate.package)
    with open_elf(candidate.path, bare=candidate.bare) as elf:
        before = candidate.path.stat()
        named = candidate.path.name
        facts = replace(facts, size=len(elf.data), machine="CUDA" if candidate.bare else elf.machine)
        if not candidate.bare:
            facts = replace(facts, link=read_link(elf))
        if candidate.role in ("torch", "companion", "needed"):
            facts = replace(facts, gpu=read_gpu(elf, whose=named in LINKED_INTO))
        if candidate.role in ("torch", "companion") and not candidate.bare:
            facts = replace(facts, cpu=read_cpu(elf, named))
        elf.forget()
    after = candidate.path.stat()
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise UserError("it changed while it was read")
    return facts


def read_library(candidate: Candidate) -> LibraryFacts:
    """Open an ELF file once and read all that the checks decide on."""
    try:
        return _facts(candidate)
    except UserError as error:
        text = str(error).removeprefix(f"{candidate.path}: ")
    except OSError as error:
        text = error.strerror or str(error)
    except Exception as error:
        # What no reader foresaw in a file is wrong with that file, not with all the others.
        text = f"{type(error).__name__}: {error}"
    return LibraryFacts(candidate.path, candidate.name, candidate.role, candidate.package, error=text)


def _alone(candidate: Candidate) -> LibraryFacts:
    """Read a library in a process of its own: who reads a map of a file that is cut off ends by SIGBUS."""
    with ProcessPoolExecutor(1) as pool:
        try:
            return pool.submit(read_library, candidate).result()
        except BrokenProcessPool:
            error = "reading it ends the process that does: is it being changed?"
            return LibraryFacts(
                candidate.path, candidate.name, candidate.role, candidate.package, error=error
            )


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def read_libraries(candidates: Iterable[Candidate], pool: ProcessPoolExecutor) -> tuple[LibraryFacts, ...]:
    """Read libraries in parallel, the largest first, and give them in the order that they came in."""
    order = list(candidates)
    facts: dict[int, LibraryFacts] = {}
    try:
        largest = sorted(range(len(order)), key=lambda index: -_size(order[index].path))
        futures = {index: pool.submit(read_library, order[index]) for index in largest}
        for index, future in futures.items():
            facts[index] = future.result()
    except BrokenProcessPool:
        facts |= {index: _alone(order[index]) for index in range(len(order)) if index not in facts}
    return tuple(facts[index] for index in range(len(order)))


@dataclass(frozen=True)
class _Files:
    """All that was read of an environment's files."""

    environment: Environment
    owners: "_Owners"
    libraries: tuple[LibraryFacts, ...]
    bare: tuple[LibraryFacts, ...]
    linkage: Linkage
    problems: tuple[tuple[str, str], ...]
    whole: tuple[Wholeness, ...]
    elsewhere: Mapping[str, Path]

    @property
    def distributions(self) -> Distributions:
        """The metadata in its site-packages."""
        return self.owners.distributions

    @property
    def torch(self) -> Distribution | None:
        """Torch's own metadata, if there is any."""
        return next(iter(self.distributions.named("torch")), None)


def _markers(environment: Environment) -> dict[str, str]:
    """What markers of requirements may ask about: the machine, and the environment's Python."""
    parent = environment.packages.parent.name
    version = (environment.python.path if environment.python.packages else Path(parent)).name[6:]
    found = {key: str(value) for key, value in default_environment().items()}
    if version.count(".") == 1:
        found |= {"python_version": version, "python_full_version": f"{version}.0"}
    return found


@dataclass(frozen=True)
class _Owners:
    """Whose the files of a site-packages are."""

    environment: Environment
    distributions: Distributions
    built: frozenset[str]

    @cached_property
    def site(self) -> Path:
        """The site-packages, with all links resolved."""
        return Path(os.path.realpath(self.environment.packages))

    def _role(self, path: Path, package: str) -> Role:
        owner = self.distributions.owner(path)
        if package == "torch" or (owner and owner.name == "torch"):
            return "torch"
        if owner and owner.name in self.built:
            return "companion"
        listed = self.distributions.listed(path)
        return "nvidia" if listed and listed.nvidia else "other"

    def candidate(self, path: Path) -> Candidate:
        """A file that was found below site-packages, by the path that it was found by."""
        name = path.relative_to(self.environment.packages)
        package = name.parts[0].split(".")[0]
        role = self._role(path, package)
        return Candidate(real_place(path), name.as_posix(), role, "torch" if role == "torch" else package)

    def needed(self, path: Path) -> Candidate:
        """A file that a library needs or opens, by its real place."""
        if path.is_relative_to(self.site):
            found = self.candidate(self.environment.packages / path.relative_to(self.site))
            return replace(found, role="needed") if found.role == "other" else found
        return Candidate(path, str(path), "nvidia" if is_bundled(path) else "needed", path.name)


def _elsewhere(owners: _Owners) -> dict[str, Path]:
    """Where packages built on torch are that do not lie in site-packages, as when they are worked on."""
    site = owners.environment.packages
    names = [name.replace("-", "_") for name in sorted(owners.built)]
    names = [name for name in names if not (site / name).exists() and not (site / f"{name}.py").exists()]
    if not names:
        return {}
    places = ask_where(owners.environment.python, names)
    return {name: found[0] for name, found in places.items() if found and found[0].is_dir()}


def _read_bare(
    owners: _Owners,
    tree: Tree,
    elsewhere: Mapping[str, Path],
    companions: Collection[str],
    pool: ProcessPoolExecutor,
) -> tuple[LibraryFacts, ...]:
    """Read the GPU code that torch and what is built on it have as separate files, for the driver."""
    candidates = [owners.candidate(path) for path in tree.bare]
    candidates = [replace(c, role="companion") if c.package in companions else c for c in candidates]
    for name, place in elsewhere.items():
        candidates += [
            Candidate(path, f"{name}/{path.relative_to(place)}", "companion", name)
            for path in read_tree(place).bare
        ]
    return read_libraries(
        [replace(c, bare=True) for c in candidates if c.role in ("torch", "companion")], pool
    )


def _read_all(
    owners: _Owners, tree: Tree, elsewhere: Mapping[str, Path], pool: ProcessPoolExecutor
) -> tuple[list[LibraryFacts], Linkage]:
    """Read what is torch's or built on it, and then what that needs."""
    candidates = [owners.candidate(path) for path in tree.elf]
    for name, place in elsewhere.items():
        candidates += [
            Candidate(real_place(path), f"{name}/{path.relative_to(place)}", "companion", name)
            for path in read_tree(place).elf
        ]
    libraries = list(read_libraries(candidates, pool))
    linked = {facts.package for facts in libraries if facts.role == "other" and needs_torch(facts.link)}
    again = [c for c in candidates if c.role == "other" and c.package in linked]
    libraries = [facts for facts in libraries if facts.package not in linked or facts.role != "other"]
    libraries += read_libraries([replace(c, role="companion") for c in again], pool)
    read: dict[Path, LibraryFacts] = {facts.path: facts for facts in libraries if facts.role != "other"}

    def one(path: Path) -> LibraryFacts:
        if path not in read:
            [read[path]] = read_libraries([owners.needed(path)], pool)
        return read[path]

    # What no linker has seen is never loaded, unless it is for a GPU.
    own = [
        facts
        for facts in libraries
        if facts.role in ("torch", "companion") and not (facts.link.object and facts.machine in _CPUS)
    ]
    linkage = read_linkage(own, one)
    return list(dict.fromkeys(item.facts for item in linkage.all)), linkage


def _read_wholeness(
    owners: _Owners, tree: Tree, wanted: Iterable[Distribution], full: Collection[str]
) -> list[Wholeness]:
    """Hold distributions against their RECORDs; in full those of these names."""
    known = {row.path for found in owners.distributions.all for row in found.rows or ()}
    site = owners.environment.packages
    with ThreadPoolExecutor(usable_cores()) as threads:
        return [
            read_wholeness(site, found, known, tree, threads, hash_all=found.name in full) for found in wanted
        ]


def _further(
    owners: _Owners, libraries: Iterable[LibraryFacts], met: Collection[str]
) -> tuple[list[Distribution], set[str]]:
    """The distributions of libraries, but for some by name; the names of those that are built on torch."""
    wanted: dict[str, Distribution] = {}
    full: set[str] = set()
    for facts in libraries:
        owner = owners.distributions.owner(owners.environment.packages / facts.name)
        if owner and owner.name not in met:
            wanted.setdefault(owner.name, owner)
            if facts.role == "companion":
                full.add(owner.name)
    return list(wanted.values()), full


def _read_files(environment: Environment) -> _Files:
    with ProcessPoolExecutor(usable_cores()) as pool, ThreadPoolExecutor(1) as beside:
        # Where processes fork they all do now: as long as there is no other thread, and little in memory.
        pool.submit(os.getpid).result()
        distributions = read_distributions(environment.packages)
        owners = _Owners(environment, distributions, distributions.built_on("torch", _markers(environment)))
        tree = read_tree(environment.packages, pool)
        elsewhere = _elsewhere(owners)
        full = {"torch", *owners.built}
        own = {found.name: found for found in distributions.all if found.name in full}
        hashed = beside.submit(_read_wholeness, owners, tree, own.values(), full)
        libraries, linkage = _read_all(owners, tree, elsewhere, pool)
        bare = _read_bare(owners, tree, elsewhere, linkage.companions, pool)
        whole = hashed.result() + _read_wholeness(owners, tree, *_further(owners, libraries, own))
    packages = {"torch", *linkage.companions}
    site = environment.packages
    problems = [
        (path.relative_to(site).as_posix(), problem)
        for path, problem in tree.problems
        if path == site or path.relative_to(site).parts[0].split(".")[0] in packages
    ]
    problems += [(facts.name, facts.error) for facts in (*libraries, *bare) if facts.error]
    whole.sort(key=lambda part: part.distribution.name)
    return _Files(
        environment, owners, tuple(libraries), bare, linkage, tuple(problems), tuple(whole), elsewhere
    )


def _check_readable(files: _Files) -> Iterator[Finding]:
    for name, problem in files.problems:
        yield wrong("files", "readable", (), name, problem)
    yield from check_programs(files.libraries)
    if not files.problems:
        yield ok("files", "readable", f"{len(files.libraries)} ELF files")
    nvidia = sorted({facts.package for facts in files.libraries if facts.role == "nvidia"})
    if nvidia:
        names = sorted(facts.path.name for facts in files.libraries if facts.role == "nvidia")
        yield note("NVIDIA's own", (), names, detail="their GPU code is not looked at")


def _check_code(files: _Files, variant: Variant, origin: Origin) -> Iterator[Finding]:
    yield from _check_readable(files)
    yield from check_wholeness(files.whole, origin)
    try:
        cuts = cuts_of(files.environment.packages, ("torch", *files.linkage.companions))
    except UserError as error:
        yield wrong("retargeted", "readable", (), detail=str(error))
        cuts = {}
    yield from check_gpu((*files.libraries, *files.bare), variant, origin, cuts)
    yield from check_cpu(files.libraries, variant, origin)


def check_files(environment: Environment, variant: Variant, origin: Origin) -> Iterator[Finding]:
    """The rows that are read from the files alone; nothing is run."""
    yield from _check_code(_read_files(environment), variant, origin)


def _ask(files: _Files, patience: float) -> tuple[dict[str, Any], dict[str, str]]:
    """What the environment's Python says, and what importing each companion came to that did not end well.

    A package that ends the process is left out of the next attempt.
    """
    environment, linkage = files.environment, files.linkage
    site = environment.packages
    modules = {
        package: str(files.elsewhere.get(package, site / package))
        for package in linkage.companions
        if package in files.elsewhere or (site / package).is_dir() or (site / f"{package}.py").is_file()
    }
    question: dict[str, Any] = {
        "torch": str(environment.torch),
        "names": linkage.unknown,
        "cuda": linkage.cuda,
        "opened": linkage.opened,
        "modules": modules,
        "libraries": [
            str(item.path) for items in linkage.companions.values() for item in items if loadable(item.facts)
        ],
    }
    facts: dict[str, Any] = {}
    imported: dict[str, str] = {}
    while True:
        said = converse(environment.python, "imports", question, patience)
        facts = {**said.facts, **facts}
        for message in said.messages:
            if name := message.get("module"):
                imported[name] = _import_problem(message)
        left = [name for name in question["modules"] if name not in imported]
        end = said.end
        if end.startswith("no answer"):
            end += "; if it only takes long, write --patience and more seconds"
        if not end:
            return facts, imported
        if "opened" not in facts or not left:
            return {**facts, "end": end, "trying": said.facts.get("trying", "")}, imported
        imported[left[0]] = end
        question["modules"] = {name: modules[name] for name in left[1:]}


def _import_problem(message: Mapping[str, Any]) -> str:
    elsewhere = message.get("elsewhere") or ()
    return message.get("failed") or (f"imports {elsewhere[0]}" if elsewhere else "")


def _unmet(files: _Files, version: str | None) -> dict[str, list[str]]:
    """By package, what companions ask of torch that this one is not."""
    unmet: dict[str, list[str]] = {}
    markers = _markers(files.environment)
    for distribution in files.distributions.all:
        for requirement in distribution.requirements(markers):
            if canonicalize_name(requirement.name) != "torch" or not version:
                continue
            if not requirement.specifier.contains(version, prereleases=True):
                text = f"asks for torch{requirement.specifier}, this is {version}"
                for name in distribution.top_level:
                    unmet.setdefault(name.split(".")[0], []).append(text)
    return unmet


def _check_companions(
    files: _Files, facts: Mapping[str, Any], imported: Mapping[str, str], missing: Sequence[str] | None
) -> Iterator[Finding]:
    linkage, stems = files.linkage, torch_stems(files.linkage)
    without: set[Path] = set()
    said: dict[str, list[str]] = {}
    for package, items in linkage.companions.items():
        may_lack = optional(items, missing or (), stems)
        text = imported.get(package, "")
        lacking = {name for item in items if item.path in may_lack for name in item.unknown}
        if text and any(name in text for name in lacking):
            # It says itself that it is for something that this machine does not have.
            detail = f"not imported: {text.splitlines()[0][:200]}"
            yield note("companion", "linked to this torch", sorted(lacking), package, detail)
        elif text:
            said[package] = [f"import {package}: {text.splitlines()[0][:300]}"]
            may_lack = set() if lacking else may_lack
        without |= may_lack
    yield from check_linkage(linkage, missing, without)
    unmet = _unmet(files, facts.get("torch"))
    yield from check_companions(linkage, unmet, said, without, facts.get("libraries") or {})
    for package, texts in sorted(unmet.items()):
        if package not in linkage.companions:
            yield note("companion", "built for this torch", texts, package, "it has no libraries")


def _check_imports(files: _Files, variant: Variant, origin: Origin, patience: float) -> Iterator[Finding]:
    environment, linkage = files.environment, files.linkage
    facts, imported = _ask(files, patience)
    end = facts.get("end", "")
    yield from check_import(variant, origin, facts, environment.torch, files.torch)
    missing = facts.get("missing")
    yield from _check_companions(files, facts, imported, missing)
    yield from check_parts(linkage, facts.get("opened"))
    others = [str(path) for path in environment.torches[1:]]
    others += [str(found.directory) for found in files.distributions.named("torch")[1:]]
    loaded = facts.get("loaded_at_last") or facts.get("loaded") or []
    yield from check_one_torch(environment.torch, others, linkage, loaded)
    if facts.get("loaded") and not facts.get("error"):
        yield from check_loaded(linkage, facts["loaded"])
    strangers = check_gpu(_strangers(files, loaded), variant, origin, {})
    yield from (row for row in strangers if row.check != "CUDA build")
    yield from check_cuda(facts.get("cuda_libraries") or {}, facts.get("cuda") or variant.cuda)
    yield from check_glibc(linkage, facts.get("glibc"))
    if end:
        yield wrong("environment's Python", "answers to the end", (), facts.get("trying", ""), end)


def _strangers(files: _Files, loaded: Iterable[str]) -> list[LibraryFacts]:
    """What was loaded, has GPU code and was not looked at: preloaded, or opened by a path."""
    known = {os.path.realpath(facts.path) for facts in files.libraries}
    site = files.owners.site
    found = []
    for text in loaded:
        path = real_place(Path(text))
        owner = (
            files.distributions.listed(files.environment.packages / path.relative_to(site))
            if (path.is_relative_to(site))
            else None
        )
        if os.path.realpath(path) in known or owner:
            continue
        candidate = files.owners.needed(path)
        if candidate.role != "nvidia":
            facts = read_library(candidate)
            if facts.gpu.containers:
                found.append(facts)
    return found


def verify(
    environment: Path,
    variant: Variant,
    origin: Origin = Origin.SOURCE,
    policy: Policy | None = None,
    patience: float = PATIENCE,
) -> Report:
    """Hold an environment's torch against what a variant's name says.

    `environment` is a directory with bin/python and lib/python3.X/site-packages/torch. `origin` says how
    the build was made; one that is not compiled from source is not asked for its CPU flags. After
    `patience` seconds without an answer its Python is ended. Raises UserError where there is nothing to
    check.
    """
    refuse_unbuilt(variant)
    policy = policy or Policy()
    files = _read_files(find_environment(environment))
    rows: Sequence[Finding] = (
        *_check_code(files, variant, origin),
        *_check_imports(files, variant, origin, patience),
    )
    return Report(variant.name, origin, tuple(policy.apply(rows)), policy)
