"""Verification of linkage: every library is found, there is one torch and one CUDA, companions use both."""

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pytorch_variants.binary.elf import (
    DT_RUNPATH,
    DT_STRTAB,
    PT_LOAD,
    SHT_DYNSYM,
    SHT_PROGBITS,
    Elf,
)
from pytorch_variants.findings import (
    Finding,
    expect,
    note,
    ok,
    wrong,
)

if TYPE_CHECKING:
    from pytorch_variants.verify.facts import LibraryFacts

# The GPU driver's own: on the machine that runs the program, never in a package.
_DRIVER = frozenset({"libcuda.so.1", "libnvidia-ml.so.1", "libnvcuvid.so.1"})
# Each says which release of CUDA it belongs to; their names have the major number alone.
_CUDA = ("libcudart.", "libnvrtc.so", "libnvJitLink.so")
_LIBRARY = re.compile(r"\.so(\.[0-9]+)*$")
_TORCH = re.compile(r"lib(torch|c10)(_[a-z0-9_]+)?\.so$")
# What dlopen is given stands as a text of its own among a library's constants.
_TEXT = re.compile(rb"(?:^|\0)(lib[A-Za-z0-9_.+-]{1,80}\.so(?:\.[0-9]{1,9}){0,4})\0")
_SO = re.compile(rb"\.so(?=[.\0])")
_CONSTANTS = (".rodata", ".data", ".lrodata", ".ldata")
_BLOCK, _LONGEST = 1 << 20, 128
# PyTorch, cuDNN and NVRTC do not work without their parts. What others open by name they can do without:
# libraries of MKL, of network cards, of other graphics interfaces.
_PARTS = re.compile(r"lib(torch|c10|caffe2|cudnn|nvrtc)([._-]|$)")
# PyTorch opens it for torch.compile, fusers and complex kernels. GCC makes immediate operands of the name
# (ATen/cuda/detail/LazyNVRTC.cpp, CUDAHooks.cpp), so that it stands nowhere as a text.
_LAZY_NVRTC = "libcaffe2_nvrtc.so"
_LAZY_USER, _LAZY_FUNCTION = "libtorch_cuda.so", "load_nvrtc"
_SMALL = 1 << 20
_FEW = 16
_PT_INTERP, _ET_REL, _DT_STRSZ = 3, 1, 10
_MOST_STRINGS = 1 << 26
_GLIBC = re.compile(rb"\0GLIBC_([0-9]+\.[0-9]+(?:\.[0-9]+)?)(?=\0)")


@dataclass(frozen=True)
class LinkFacts:
    """What a library says to the loader, and which libraries it opens by name.

    `needed` is DT_NEEDED, `runpath` DT_RUNPATH or DT_RPATH with $ORIGIN as it stands; `inherited` if it is
    the latter, which what is needed searches too. `program` if it is to be started, `object` if a linker has
    not seen it, `lazy` if it has the function that PyTorch looks for in _LAZY_NVRTC. `glibc` is the latest
    release of glibc that it asks for, as in (2, 34).
    """

    needed: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    inherited: bool = False
    opens: tuple[str, ...] = ()
    program: bool = False
    object: bool = False
    lazy: bool = False
    glibc: tuple[int, ...] = ()


def _texts(elf: Elf, start: int, end: int) -> Iterator[str]:
    """The names of libraries that stand between two places of a file."""
    while start < end:
        block = bytes(elf.data[max(0, start - _LONGEST) : min(start + _BLOCK, end)])
        start += _BLOCK
        for end_of_name in _SO.finditer(block):
            # One search for the few that could be the end of a name, and not one from every letter.
            place = end_of_name.start()
            first = block.rfind(b"\0", max(0, place - _LONGEST), place)
            if match := _TEXT.match(block, max(0, first)):
                yield match[1].decode()
        elf.forget()


def _opens(elf: Elf) -> Iterator[str]:
    symbols = elf.symbols_with(SHT_DYNSYM, (b"dlopen\0", b"dlmopen\0"), 0, _FEW)
    if not any(symbol.name in ("dlopen", "dlmopen") for symbol in symbols if not symbol.section):
        return
    parts = [
        (section.offset, section.size)
        for section in elf.sections
        if section.type == SHT_PROGBITS and section.name.startswith(_CONSTANTS)
    ] or [(segment.offset, segment.file_size) for segment in elf.segments if segment.type == PT_LOAD]
    for offset, size in parts:
        yield from _texts(elf, offset, offset + size)


def read_link(elf: Elf) -> LinkFacts:
    """Read a library's dynamic section and the names of libraries among its constants. Raises ElfError."""
    own = {tag for tag, _ in elf.dynamic}
    opens = tuple(sorted(set(_opens(elf))))
    return LinkFacts(
        needed=elf.needed,
        runpath=elf.runpath,
        inherited=bool(elf.runpath) and DT_RUNPATH not in own,
        opens=opens,
        program=any(segment.type == _PT_INTERP for segment in elf.segments),
        object=int.from_bytes(elf.data[16:18], "little") == _ET_REL,
        lazy=len(elf.data) < _SMALL
        and _LAZY_FUNCTION.encode() in bytes(elf.data)
        and any(s.section and s.name.endswith(_LAZY_FUNCTION) for s in elf.symbols(SHT_DYNSYM)),
        glibc=_glibc(elf),
    )


def _glibc(elf: Elf) -> tuple[int, ...]:
    """The latest of the versions of glibc's symbols that a library asks for, by their names."""
    names = next((value for tag, value in elf.dynamic if tag == DT_STRTAB), None)
    size = next((value for tag, value in elf.dynamic if tag == _DT_STRSZ), 0)
    if names is None:
        return ()
    start = elf.offset_of(names)
    block = bytes(elf.data[start : start + min(size, _MOST_STRINGS)])
    # Versions stand at the end of the table, behind the names of symbols.
    found = [tuple(map(int, match[1].split(b"."))) for match in _GLIBC.finditer(block)]
    return max(found, default=())


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
class Part:
    """A library that another opens by name: where it is, None if nowhere."""

    name: str
    user: "LibraryFacts"
    path: Path | None


@dataclass(frozen=True)
class Linkage:
    """The libraries of torch, those that they need or open, and those of packages that are built on torch."""

    torch: tuple[Linked, ...]
    needed: tuple[Linked, ...]
    companions: Mapping[str, tuple[Linked, ...]]
    parts: tuple[Part, ...]

    @property
    def all(self) -> tuple[Linked, ...]:
        """Every library, torch's first."""
        return (*self.torch, *self.needed, *(item for items in self.companions.values() for item in items))

    @property
    def cuda(self) -> tuple[str, ...]:
        """The files of CUDA's runtime libraries that something needs; see optional() for what is left out."""
        own = [*self.torch, *self.needed]
        for items in self.companions.values():
            wanted = releases(items)
            own += [item for item in items if all(len(wanted[_stem(name)]) == 1 for name in item.found)]
        files = {path for item in own for path in item.found.values() if path.name.startswith(_CUDA)}
        return tuple(sorted({os.path.realpath(path) for path in files}))

    @property
    def opened(self) -> tuple[str, ...]:
        """The files that have to load: torch's own libraries, and parts that are opened by name."""
        own = {str(item.path) for item in self.torch if loadable(item.facts)}
        return tuple(sorted(own | {str(part.path) for part in self.parts if part.path}))

    @property
    def unknown(self) -> tuple[str, ...]:
        """What to ask the loader for."""
        return tuple(sorted({name for item in self.all for name in item.unknown}))


def real_place(path: Path) -> Path:
    """A path with the links of its directories resolved; that of the file itself stays.

    The same file gets the same path from every $ORIGIN/../.. that leads to it.
    """
    return Path(os.path.realpath(path.parent), path.name)


def needs_torch(link: LinkFacts) -> bool:
    """Whether a library is linked against one of torch's, or opens one."""
    return any(_TORCH.match(name) for name in (*link.needed, *link.opens))


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
        # A name with a slash is a path, which this gives as it is.
        places = (Path(directory) / name for directory in (*directories, *inherited, *("/" * ("/" in name))))
        place = next((place for place in places if place.is_file()), (known or {}).get(name))
        if place:
            found[name] = real_place(place)
        elif name not in _DRIVER:
            unknown.append(name)
    return Linked(facts, tuple(directories), found, tuple(unknown))


def _handed_on(item: Linked, inherited: tuple[str, ...]) -> tuple[str, ...]:
    return (*item.runpath, *inherited) if item.facts.link.inherited else inherited


def follow(
    start: Sequence[Linked], known: dict[str, Path], read: Callable[[Path], "LibraryFacts"]
) -> Iterator[Linked]:
    """What these libraries need, and what that needs in turn; `known` grows by what is met."""
    queue: list[tuple[Linked, tuple[str, ...]]] = [(item, ()) for item in start]
    seen = {item.path for item in start}
    while queue:
        item, inherited = queue.pop(0)
        for name, path in item.found.items():
            known.setdefault(name, path)
            if path not in seen:
                seen.add(path)
                # What needs it has found its own by now: the loader has these too.
                handed = _handed_on(item, inherited)
                further = resolve(read(path), (*handed, *item.runpath), known)
                queue.append((further, handed))
                yield further


def _find_part(name: str, user: "LibraryFacts", known: Mapping[str, Path]) -> Path | None:
    """Where a library is that another opens by this name, in full or without its version."""
    if name in known:
        return known[name]
    beside = [real_place(path) for path in sorted(user.path.parent.glob(f"{name}*"))]
    others = sorted(path for other, path in known.items() if other.startswith(f"{name}."))
    exact = [path for path in beside if path.name == name]
    return next(iter((*exact, *beside, *others)), None)


def find_parts(libraries: Iterable["LibraryFacts"], known: Mapping[str, Path]) -> Iterator[Part]:
    """The libraries without which PyTorch, cuDNN and NVRTC do not work, and which they open by name."""
    seen: set[str] = set()
    for library in libraries:
        opens = [name for name in library.link.opens if _PARTS.match(name)]
        if library.path.name == _LAZY_USER and library.role == "torch":
            opens.append(_LAZY_NVRTC)
        for name in opens:
            if name not in seen and name != library.path.name:
                seen.add(name)
                yield Part(name, library, _find_part(name, library, known))


def _with_parts(
    items: Sequence[Linked], known: dict[str, Path], read: Callable[[Path], "LibraryFacts"]
) -> tuple[list[Linked], list[Part]]:
    """What libraries need and open, and what that needs and opens in turn."""
    met, parts, latest = list[Linked](), list[Part](), list(items)
    seen = {item.path for item in items}
    while latest:
        needed = [item for item in follow(latest, known, read) if item.path not in seen]
        seen |= {item.path for item in needed}
        met += needed
        facts = [item.facts for item in (*latest, *needed)]
        found = [part for part in find_parts(facts, known) if part.name not in {p.name for p in parts}]
        parts += found
        new = {part.path: None for part in found if part.path and part.path not in seen}
        latest = [resolve(read(path), known=known) for path in new]
        seen |= set(new)
        met += latest
        known.update({part.name: part.path for part in found if part.path})
    return met, parts


def read_linkage(libraries: Sequence["LibraryFacts"], read: Callable[[Path], "LibraryFacts"]) -> Linkage:
    """Find what the libraries of torch and of its companions need; `read` reads one that is met.

    A library of PyTorch's has to find all by itself. The others are loaded later: they also find what is
    there by then, and companions what lies in their own package.
    """
    torch = tuple(resolve(library) for library in libraries if library.role == "torch")
    known = {item.path.name: item.path for item in torch}
    needed, parts = _with_parts(torch, known, read)
    companions: dict[str, tuple[Linked, ...]] = {}
    for package in dict.fromkeys(library.package for library in libraries if library.role == "companion"):
        own = [library for library in libraries if library.package == package]
        siblings = {library.path.name: library.path for library in own}
        companions[package] = tuple(resolve(library, known={**siblings, **known}) for library in own)
        theirs = {library.path for library in own} | {item.path for item in (*torch, *needed)}
        further = follow(companions[package], dict(known), read)
        needed += [item for item in further if item.path not in theirs]
    return Linkage(torch, tuple(needed), companions, tuple(parts))


def _searched(item: Linked) -> str:
    places = ":".join(item.runpath) if len(item.runpath) < 3 else f"of {len(item.runpath)} directories"
    return f"{item.path.name}, RUNPATH {places}" if item.runpath else f"{item.path.name}, no RUNPATH"


def _stem(name: str) -> str:
    return name.partition(".so")[0]


def releases(items: Iterable[Linked]) -> dict[str, set[str]]:
    """By name without version, what the libraries of one package need."""
    wanted: dict[str, set[str]] = {}
    for item in items:
        for name in item.facts.link.needed:
            wanted.setdefault(_stem(name), set()).add(name)
    return wanted


def loadable(facts: "LibraryFacts") -> bool:
    """Whether a file is a library to load: no program, object, or file of debugging symbols."""
    link = facts.link
    return bool(_LIBRARY.search(facts.path.name)) and not (link.program or link.object or facts.error)


def torch_stems(linkage: Linkage) -> frozenset[str]:
    """The names, without versions, of what torch's own libraries need."""
    own = [item.facts for item in (*linkage.torch, *linkage.needed)]
    return frozenset(_stem(name) for facts in own for name in (*facts.link.needed, facts.path.name))


def optional(items: Sequence[Linked], missing: Collection[str], theirs: Collection[str]) -> set[Path]:
    """The libraries of a companion that it can do without: each lacks one that is no part of this PyTorch.

    A package may have a library for each release of something (torchcodec for FFmpeg's, bitsandbytes for
    CUDA's) and open the one that fits. `theirs` are the stems of names that torch's own libraries need:
    only where another library of the package is for another release may one of these be missing.
    """
    wanted = releases(items)
    without = set()
    for item in items:
        lacking = [name for name in item.unknown if name in missing]
        if lacking and all(len(wanted[_stem(name)]) > 1 or _stem(name) not in theirs for name in lacking):
            without.add(item.path)
    return without


def check_linkage(
    linkage: Linkage, missing: Collection[str] | None, without: Collection[Path] = ()
) -> Iterator[Finding]:
    """Every library that is needed is found.

    `missing` are names that the loader does not know, None if it could not be asked; `without` are
    libraries that may lack one.
    """
    expected, lacking = "every library found", False
    for item in linkage.all:
        names = [name for name in item.unknown if name in (missing or ())]
        if names and item.path in without:
            found = [f"no {name}" for name in names]
            yield note("linkage", expected, found, _searched(item), "what needs it is not used here")
        elif names:
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


def _facts_of(linkage: Linkage, path: Path) -> "LibraryFacts":
    return next(item.facts for item in linkage.all if item.path == path)


def check_glibc(linkage: Linkage, found: str | None) -> Iterator[Finding]:
    """The environment's glibc is as late as torch's libraries ask for; `found` is as in "2.36"."""
    if not found or not re.fullmatch(r"[0-9.]+", found):
        return
    have = tuple(map(int, found.split(".")))
    for item in linkage.torch:
        if item.facts.link.glibc > have:
            wanted = ".".join(map(str, item.facts.link.glibc))
            yield wrong("glibc", f"at least {wanted}", found, item.facts.name)


def check_programs(libraries: Iterable["LibraryFacts"]) -> Iterator[Finding]:
    """Programs of torch's may be started."""
    for facts in libraries:
        if facts.role == "torch" and facts.link.program and not os.access(facts.path, os.X_OK):
            yield wrong("files", "may be started", (), facts.name, "nobody may execute it")


def check_parts(linkage: Linkage, failed: Mapping[str, str] | None) -> Iterator[Finding]:
    """What is opened by name is there, and it loads, as torch's own libraries do.

    `failed` has what does not load, None if nobody could try.
    """
    expected, bad = "there, and loads", 0
    for part in linkage.parts:
        where = f"{part.user.name} opens it"
        if part.path is None:
            bad += 1
            yield wrong("opened by name", expected, f"no {part.name}", where)
        elif part.name == _LAZY_NVRTC and not _facts_of(linkage, part.path).link.lazy:
            bad += 1
            detail = f"it has no {_LAZY_FUNCTION}, which PyTorch looks for in it"
            yield wrong("opened by name", expected, part.path.name, where, detail)
    users = {str(part.path): f"{part.user.name} opens it" for part in linkage.parts}
    for path, error in sorted((failed or {}).items()):
        name, where = Path(path).name, users.get(path, path)
        if any(driver in error for driver in _DRIVER):
            detail = f"not loaded here, where there is no driver: {error}"
            yield note("loads", "loads", name, where, detail)
        else:
            bad += 1
            yield wrong("loads", "loads", name, where, error)
    names = sorted({part.path.name for part in linkage.parts if part.path})
    if failed is None:
        yield note("opened by name", expected, names, detail="nobody could try to load it")
    elif names and not bad:
        yield ok("opened by name", expected, names, f"{len(linkage.opened)} libraries load")


def check_one_torch(
    torch: Path, others: Sequence[str], linkage: Linkage, loaded: list[str]
) -> Iterator[Finding]:
    """One torch package, and no library of another one needed or loaded; `loaded` are files.

    `others` are torch packages beside it.
    """
    own = {os.path.realpath(item.path) for item in linkage.torch}
    inside = {str(item.path) for items in linkage.companions.values() for item in items}
    needed = {str(path) for item in linkage.all for path in item.found.values()}
    names = {item.path.name for item in linkage.torch if _TORCH.match(item.path.name)}
    everywhere = {os.path.realpath(path) for path in inside | needed | set(loaded)}
    strange = sorted(path for path in everywhere - own if Path(path).name in names)
    yield expect("torch packages", str(torch), (str(torch), *others, *strange))


def check_loaded(linkage: Linkage, loaded: Collection[str]) -> Iterator[Finding]:
    """What torch's own extension module needs of torch is what was loaded: it is these files that run."""
    own = {item.path: item for item in linkage.torch}
    waiting = [item for item in linkage.torch if item.path.name.startswith("_C.")]
    wanted: dict[Path, None] = {}
    while waiting:
        item = waiting.pop()
        if item.path not in wanted:
            wanted[item.path] = None
            waiting += [own[path] for path in item.found.values() if path in own]
    real = {os.path.realpath(path) for path in loaded}
    names = sorted(path.name for path in wanted)
    there = sorted(path.name for path in wanted if os.path.realpath(path) in real)
    yield expect("libraries loaded", names, there)


def _fits(name: str, found: str, release: str) -> bool:
    """Whether a runtime library may stand beside CUDA's `release`.

    nvJitLink links what earlier ones of its major release have made, and NVIDIA's packages ask for no more:
    pip takes the latest.
    """
    if found == release:
        return True
    if not name.startswith("libnvJitLink") or not all(
        re.fullmatch(r"\d+\.\d+", text) for text in (found, release)
    ):
        return False
    (major, minor), (wanted, least) = (map(int, text.split(".")) for text in (found, release))
    return major == wanted and minor >= least


def check_cuda(versions: Mapping[str, str], expected: str | None) -> Iterator[Finding]:
    """All of CUDA's runtime libraries are of one release, that which torch was built with if it is known."""
    found = sorted(set(versions.values()))
    if not found and not expected:
        return
    release = expected or found[0]
    where = ", ".join(f"{Path(path).name} {version}" for path, version in versions.items())
    fit = all(_fits(Path(path).name, version, release) for path, version in versions.items())
    yield expect("CUDA libraries", release, release if fit and found else found, where)


def foreign_libraries(items: Iterable[Linked], torch: Collection[str]) -> list[str]:
    """The libraries of another torch that these find; `torch` are the real paths of this one's."""
    return [
        f"{item.path.name} finds {path}"
        for item in items
        for name, path in item.found.items()
        if _TORCH.match(name) and os.path.realpath(path) not in torch
    ]


def check_companions(
    linkage: Linkage,
    asked_for: Mapping[str, Sequence[str]],
    said: Mapping[str, Sequence[str]],
    without: Collection[Path],
    failed: Mapping[str, str],
) -> Iterator[Finding]:
    """Packages that are built on torch: for this one, linked to it, and they load beside it.

    By package: `asked_for` has what of its metadata this torch does not meet, `said` what importing it
    came to. `failed` has the libraries that do not load.
    """
    torch = {os.path.realpath(item.path) for item in linkage.torch}
    for package, items in linkage.companions.items():
        problems = [*foreign_libraries(items, torch), *asked_for.get(package, ()), *said.get(package, ())]
        for item in items:
            error = failed.get(str(item.path))
            if error and item.path not in without and not any(name in error for name in _DRIVER):
                problems.append(f"{item.path.name}: {error.splitlines()[0]}")
        expected = "linked to this torch"
        where = f"{package}, {len(items)} libraries"
        if problems:
            yield wrong("companion", expected, problems, where)
        else:
            yield ok("companion", expected, expected, where)
