"""Verification of linkage: every library is found, there is one torch and one CUDA, companions use both."""

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement

from pytorch_variants.binary.elf import Elf
from pytorch_variants.findings import (
    Finding,
    expect,
    note,
    ok,
    wrong,
)
from pytorch_variants.verify.environment import Environment

if TYPE_CHECKING:
    from pytorch_variants.verify.facts import LibraryFacts

# The GPU driver's own: on the machine that runs the program, never in a package.
_DRIVER = frozenset({"libcuda.so.1", "libnvidia-ml.so.1", "libnvcuvid.so.1"})
# Each says which release of CUDA it belongs to; their names have the major number alone.
_CUDA = ("libcudart.", "libnvrtc.so", "libnvJitLink.so")
_TORCH = re.compile(r"lib(torch|c10)(_[a-z0-9_]+)?\.so$")


@dataclass(frozen=True)
class LinkFacts:
    """What a library says to the loader: DT_NEEDED, and DT_RUNPATH or DT_RPATH with $ORIGIN as it stands."""

    needed: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()


def read_link(elf: Elf) -> LinkFacts:
    """Read a library's dynamic section. Raises ElfError."""
    return LinkFacts(elf.needed, elf.runpath)


@dataclass(frozen=True)
class Linked:
    """A library and where what it needs is; `unknown` are names that only the loader may know."""

    facts: "LibraryFacts"
    runpath: tuple[str, ...] = ()
    found: Mapping[str, Path] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """As the loader forms it."""
        return self.facts.path


@dataclass(frozen=True)
class Linkage:
    """The libraries of torch, those that they need, and those of other packages that are built on torch."""

    torch: tuple[Linked, ...]
    needed: tuple[Linked, ...]
    companions: Mapping[str, tuple[Linked, ...]]

    @property
    def all(self) -> tuple[Linked, ...]:
        """Every library, torch's first."""
        return (*self.torch, *self.needed, *(item for items in self.companions.values() for item in items))

    @property
    def cuda(self) -> tuple[str, ...]:
        """The files of CUDA's runtime libraries that something needs."""
        files = {path for item in self.all for path in item.found.values() if path.name.startswith(_CUDA)}
        return tuple(sorted({os.path.realpath(path) for path in files}))

    @property
    def unknown(self) -> tuple[str, ...]:
        """What to ask the loader for."""
        return tuple(sorted({name for item in self.all for name in item.unknown}))


def needs_torch(link: LinkFacts) -> bool:
    """Whether a library is linked against one of torch's."""
    return any(_TORCH.match(name) for name in link.needed)


def resolve(
    facts: "LibraryFacts", inherited: tuple[str, ...] = (), known: Mapping[str, Path] | None = None
) -> Linked:
    """Find what a library needs: by its own directories, those it inherits, and what is loaded by then."""
    # The loader takes $ORIGIN from the path that it was given, not from where a link leads.
    origin = str(facts.path.parent)
    directories = [
        part.replace("${ORIGIN}", origin).replace("$ORIGIN", origin) for part in facts.link.runpath
    ]
    found, unknown = {}, []
    for name in facts.link.needed:
        places = (Path(directory) / name for directory in (*directories, *inherited))
        place = next((place for place in places if place.is_file()), (known or {}).get(name))
        if place:
            found[name] = place
        elif name not in _DRIVER:
            unknown.append(name)
    return Linked(facts, tuple(directories), found, tuple(unknown))


def follow(
    start: Sequence[Linked], known: dict[str, Path], read: Callable[[Path], "LibraryFacts"]
) -> Iterator[Linked]:
    """What these libraries need, and what that needs in turn; `known` grows by what is met."""
    queue, seen = list(start), {item.path for item in start}
    while queue:
        item = queue.pop(0)
        for name, path in item.found.items():
            known.setdefault(name, path)
            if path not in seen:
                seen.add(path)
                further = resolve(read(path), item.runpath, known)
                queue.append(further)
                yield further


def read_linkage(libraries: Sequence["LibraryFacts"], read: Callable[[Path], "LibraryFacts"]) -> Linkage:
    """Find what the libraries of torch and of its companions need; `read` reads one that is met.

    A library of PyTorch's has to find all by itself. The others are loaded later: they also find what is
    there by then, and companions what lies in their own package.
    """
    torch = tuple(resolve(library) for library in libraries if library.role == "torch")
    known = {item.path.name: item.path for item in torch}
    needed = tuple(follow(torch, known, read))
    companions: dict[str, tuple[Linked, ...]] = {}
    for package in dict.fromkeys(library.package for library in libraries if library.role == "companion"):
        own = [library for library in libraries if library.package == package]
        siblings = {library.path.name: library.path for library in own}
        companions[package] = tuple(resolve(library, known={**siblings, **known}) for library in own)
        needed += tuple(follow(companions[package], known, read))
    return Linkage(torch, needed, companions)


def _searched(item: Linked) -> str:
    places = ":".join(item.runpath) if len(item.runpath) < 3 else f"of {len(item.runpath)} directories"
    return f"{item.path.name}, RUNPATH {places}" if item.runpath else f"{item.path.name}, no RUNPATH"


def check_linkage(linkage: Linkage, missing: Collection[str] | None) -> Iterator[Finding]:
    """Every library that is needed is found.

    `missing` are names that the loader does not know, None if it could not be asked.
    """
    expected, lacking = "every library found", False
    for item in linkage.all:
        names = [name for name in item.unknown if name in (missing or ())]
        if names:
            lacking = True
            yield wrong("linkage", expected, [f"no {name}" for name in names], _searched(item))
    if not lacking:
        total = sum(len(item.found) + len(item.unknown) for item in linkage.all)
        where = f"{len(linkage.all)} libraries: {len(linkage.torch)} of torch, what they need, companions"
        if missing is None and linkage.unknown:
            detail = "the loader could not be asked for it"
            yield note("linkage", expected, linkage.unknown, where, detail)
        else:
            yield ok("linkage", expected, f"{total} of {total}", where)


def check_one_torch(environment: Environment, linkage: Linkage, loaded: list[str]) -> Iterator[Finding]:
    """One torch package, and no library of another one needed or loaded; `loaded` are files."""
    torch = {os.path.realpath(item.path) for item in linkage.torch}
    found = [str(path) for path in environment.torches[1:]]
    found += [str(path) for path in sorted(environment.packages.glob("torch-*.dist-info"))[1:]]
    inside = {str(item.path) for items in linkage.companions.values() for item in items}
    needed = {str(path) for item in linkage.all for path in item.found.values()}
    names = {item.path.name for item in linkage.torch if _TORCH.match(item.path.name)}
    everywhere = {os.path.realpath(path) for path in inside | needed | set(loaded)}
    found += sorted(path for path in everywhere - torch if Path(path).name in names)
    one = str(environment.torch)
    yield expect("torch packages", one, (one, *found))


def check_cuda(versions: Mapping[str, str], expected: str | None) -> Iterator[Finding]:
    """All of CUDA's runtime libraries are of one release, that which torch was built with if it is known."""
    found = sorted(set(versions.values()))
    where = ", ".join(f"{Path(path).name} {version}" for path, version in versions.items())
    if found or expected:
        yield expect("CUDA libraries", expected or found[0], found, where)


def _requirements(environment: Environment, package: str) -> Iterator[Requirement]:
    for distribution in distributions(path=[str(environment.packages)]):
        name = distribution.metadata["Name"] or ""
        if package in ((distribution.read_text("top_level.txt") or "").split() or [name]):
            for text in distribution.requires or ():
                with suppress(InvalidRequirement):
                    if (requirement := Requirement(text)).name == "torch":
                        yield requirement


def check_companions(
    environment: Environment, linkage: Linkage, answer: Mapping[str, Any]
) -> Iterator[Finding]:
    """Packages with libraries that need torch: built for this one, linked to it, and they load beside it."""
    torch = {os.path.realpath(item.path) for item in linkage.torch}
    for package, items in linkage.companions.items():
        problems = [
            f"{item.path.name} finds {path}"
            for item in items
            for name, path in item.found.items()
            if _TORCH.match(name) and os.path.realpath(path) not in torch
        ]
        problems += [
            f"asks for torch{requirement.specifier}, this is {answer['torch']}"
            for requirement in _requirements(environment, package)
            if answer.get("torch") and not requirement.specifier.contains(answer["torch"], prereleases=True)
        ]
        if error := answer.get("modules", {}).get(package):
            problems.append(f"import {package}: {error}")
        for item in items:
            if error := answer.get("companions", {}).get(str(item.path)):
                problems.append(f"{item.path.name}: {error}")
        expected = "linked to this torch"
        where = f"{package}, {len(items)} libraries"
        if problems:
            yield wrong("companion", expected, problems, where)
        else:
            yield ok("companion", expected, expected, where)
