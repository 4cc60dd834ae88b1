"""Verification of GPU code: which GPUs the code in every library is for, container by container.

`read_gpu` reads one library, wherever in it the code lies; `check_gpu` holds what was read against a variant.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from pytorch_variants.binary.cubin import (
    PayloadError,
    Target,
    cubin_target,
    loose_ptx,
    read_cubin,
)
from pytorch_variants.binary.elf import MOST_KEPT, Elf
from pytorch_variants.binary.fatbin import (
    RELOCATABLE_SECTION_NAME,
    SECTION_NAME,
    Container,
    Entry,
    Loose,
    find_wrappers,
    read_payload,
    scan,
)
from pytorch_variants.binary.registration import Whose, whose_containers
from pytorch_variants.findings import (
    Finding,
    Kind,
    Origin,
    expect,
    note,
    ok,
    wrong,
)
from pytorch_variants.hardware.compatibility import CodeKind, runs_on, select
from pytorch_variants.names.variant import Variant
from pytorch_variants.retarget.cut import Cut
from pytorch_variants.retarget.nvidia import is_bundled

if TYPE_CHECKING:
    from pytorch_variants.verify.facts import LibraryFacts

MAIN_LIBRARY = "libtorch_cuda.so"
LINALG_LIBRARY = "libtorch_cuda_linalg.so"
# What PyTorch's build links NCCL or MAGMA into.
LINKED_INTO = (MAIN_LIBRARY, LINALG_LIBRARY)
_MOST_NAMED = 16  # no linker leaves two


@dataclass(frozen=True)
class CodeFacts:
    """Code for one architecture, by what the code itself says; `size` is in bytes of the file.

    `problem` says what is wrong with it, if anything; `whole` whether all of it was looked at; `functions`
    whether there are any in it: nvcc links a cubin without, of the CUDA runtime's, into each library.
    """

    kind: CodeKind
    arch: int
    suffix: str
    size: int
    problem: str = ""
    whole: bool = True
    functions: bool = True

    @property
    def name(self) -> str:
        """As sm_90a for machine code, PTX_90 for PTX."""
        before = {"cubin": "sm", "ptx": "PTX", "lto": "LTO", "object": "object"}[self.kind]
        return f"{before}_{self.arch}{self.suffix}"


@dataclass(frozen=True)
class ContainerFacts:
    """The same kernels for several architectures, or for none; code in no container is one by itself.

    `place` is the section's name or, without one, how the loader maps it. `number` counts the containers of
    .nv_fatbin, in the file's order. `registered` says whether a wrapper leads to it.
    """

    offset: int
    place: str
    codes: tuple[CodeFacts, ...]
    number: int | None = None
    registered: bool = True
    loose: bool = False
    whose: Whose = Whose.UNKNOWN

    @property
    def linker_input(self) -> bool:
        """Whether it is for the device linker alone, and no program loads it."""
        return self.place == RELOCATABLE_SECTION_NAME and any(
            code.kind in ("object", "lto") for code in self.codes
        )


@dataclass(frozen=True)
class GpuFacts:
    """The GPU code of one library; `damaged` has a line for each place that is no whole fat binary."""

    containers: tuple[ContainerFacts, ...] = ()
    damaged: tuple[str, ...] = ()

    @property
    def loadable(self) -> tuple[ContainerFacts, ...]:
        """Without the device linker's input."""
        return tuple(container for container in self.containers if not container.linker_input)

    @property
    def codes(self) -> tuple[CodeFacts, ...]:
        """All that a program may load."""
        return tuple(code for container in self.loadable for code in container.codes)


def _place(elf: Elf, offset: int, size: int) -> str:
    if (section := elf.section_at(offset)) and section.name:
        return section.name
    return "mapped, in no section" if elf.segment_at(offset, size) else "mapped by nobody"


def _code(entry: Entry, target: Target | None, whole: bool, problem: str) -> CodeFacts:
    kind: CodeKind = entry.kind
    arch, suffix = entry.arch, entry.suffix
    if target:
        if target.kind != kind:
            problem = f"{target.kind} in an entry for {kind}"
        kind = "object" if target.relocatable else target.kind
        says = target.suffix if target.suffix is not None else suffix
        if (target.arch, says) != (arch, suffix):
            problem = f"code for sm_{target.arch}{says} in an entry for {entry.sm}"
        arch, suffix = target.arch, says
    return CodeFacts(kind, arch, suffix, entry.size, problem, whole, not target or target.functions)


def _codes(elf: Elf, container: Container) -> Iterator[CodeFacts]:
    for entry in container.entries:
        if entry.kind == "lto":
            yield _code(entry, None, False, "")
            continue
        try:
            target, whole = read_payload(elf, entry)
        except PayloadError as error:
            yield _code(entry, None, True, str(error))
        else:
            yield _code(entry, target, whole, "")


def _loose(elf: Elf, loose: Loose) -> CodeFacts:
    data = elf.data[loose.offset : loose.offset + loose.size]
    if loose.kind == "ptx":
        ptx = loose_ptx(elf.data, loose.offset)
        return CodeFacts("ptx", ptx.arch if ptx else 0, ptx.suffix or "" if ptx else "", loose.size)
    target, problem = cubin_target(data), ""
    try:
        target = read_cubin(bytes(data))
    except PayloadError as error:
        problem = str(error)
    return CodeFacts(
        "object" if target.relocatable else "cubin", target.arch, target.suffix or "", loose.size, problem
    )


def _unaccounted(elf: Elf, containers: Iterable[Container]) -> Iterator[str]:
    """What is neither a container nor padding in the sections of fat binaries."""
    named = [s for s in elf.sections if s.name in (SECTION_NAME, RELOCATABLE_SECTION_NAME)]
    if len(named) > _MOST_NAMED:
        yield f"it has {len(named)} sections named {SECTION_NAME} or {RELOCATABLE_SECTION_NAME}"
    ends = sorted((container.offset, container.offset + container.size) for container in containers)
    for section in [section for section in named[:_MOST_NAMED] if len(elf.contents(section))]:
        place, end = section.offset, section.offset + section.size
        if not any(place <= start < end for start, _ in ends):
            yield f"{section.name} has {section.size} bytes and no fat binary"
            continue
        inside = [(start, stop) for start, stop in ends if start >= place and stop <= end]
        for start, stop in [*inside, (end, end)]:
            gap = elf.data[place:start]
            if any(gap[first : first + 65536].tobytes().strip(b"\0") for first in range(0, len(gap), 65536)):
                yield f"{len(gap)} bytes of {section.name} at {place:#x} are no fat binary"
                break
            place = stop


def read_gpu(elf: Elf, *, whose: bool = False) -> GpuFacts:
    """Read a library's GPU code: every fat binary, cubin and PTX text, wherever in the file it lies.

    With `whose`, also whose kernels each container has, which takes a while. Raises UserError on a file that
    is full of damage; other damage is among the facts.
    """
    found = scan(elf)
    damaged = [*found.damaged, *_unaccounted(elf, found.containers)]
    offsets = {container.offset for container in found.containers}
    registered = set()
    for wrapper, target in find_wrappers(elf):
        if target in offsets:
            registered.add(target)
        elif found.containers or target > 0:
            damaged.append(f"the fat binary wrapper at {wrapper:#x} leads to no fat binary")
    owners = whose_containers(elf) if whose and found.containers else {}
    containers = []
    number = kept = 0
    for container in found.containers:
        place = _place(elf, container.offset, container.size)
        main = place == SECTION_NAME or not elf.sections
        if not container.entries and not main and container.offset not in registered:
            continue  # Sixteen bytes of a table can look like it.
        containers.append(
            ContainerFacts(
                offset=container.offset,
                place=place,
                codes=tuple(_codes(elf, container)),
                number=number if main else None,
                registered=container.offset in registered,
                whose=owners.get(container.offset, Whose.UNKNOWN),
            )
        )
        number += main
        if container.offset - kept > MOST_KEPT:
            elf.forget()
            kept = container.offset
    for loose in found.loose:
        place = _place(elf, loose.offset, loose.size)
        containers.append(ContainerFacts(loose.offset, place, (_loose(elf, loose),), loose=True))
    return GpuFacts(tuple(containers), tuple(damaged))


def read_raw(data: memoryview) -> GpuFacts:
    """The GPU code of a file that is no ELF file: a fat binary or PTX text by itself. Raises UserError."""
    return read_gpu(Elf.without_headers(data))


def code_names(codes: Iterable[CodeFacts], specific: bool = True) -> tuple[str, ...]:
    """What code there is, in order; without `specific`, sm_90a belongs to sm_90 where that is there too."""
    kinds = {(code.arch, code.kind, code.suffix) for code in codes}
    if not specific:
        # PyTorch adds such kernels by itself. Alone it does not.
        kinds = {(a, k, s if (a, k, "") not in kinds else "") for a, k, s in kinds}
    return tuple(CodeFacts(kind, arch, suffix, 0).name for arch, kind, suffix in sorted(kinds))


def _is_linked(library: "LibraryFacts", container: ContainerFacts) -> bool:
    """Whether PyTorch's build links this container in and does not compile it: NCCL's or MAGMA's.

    NCCL is device-linked, and PyTorch's own code is not. Whatever cannot be told counts as PyTorch's own.
    """
    if library.path.name == MAIN_LIBRARY:
        return container.whose in (Whose.JOINED, Whose.NCCL)
    return library.path.name == LINALG_LIBRARY and container.whose in (Whose.NCCL, Whose.OTHER)


@dataclass(frozen=True)
class _Wanted:
    """What a variant's name says of GPU code."""

    targets: frozenset[int]
    names: tuple[str, ...]
    ptx: bool
    specific: bool

    @staticmethod
    def of(variant: Variant) -> "_Wanted":
        return _Wanted(
            targets=frozenset(gpu.number for gpu in variant.gpus),
            names=tuple(f"sm_{gpu.name[2:]}" for gpu in variant.gpus),
            ptx=any(gpu.target.endswith("+PTX") for gpu in variant.gpus),
            specific=any(gpu.name[-1] in "af" for gpu in variant.gpus),
        )

    def without(self, targets: frozenset[int]) -> "_Wanted":
        """The same, but for some targets."""
        rest = self.targets - targets
        names = tuple(n for n in self.names if int(n.removeprefix("sm_").rstrip("af")) in rest)
        return _Wanted(rest, names, self.ptx, self.specific)

    def chosen(self, container: ContainerFacts) -> tuple[CodeFacts, ...]:
        return select(container.codes, self.targets, self.ptx)

    def lacking(self, container: ContainerFacts, *, ptx_counts: bool = False) -> list[int]:
        """The targets that have no machine code in a container.

        What is made for one architecture alone (sm_90a) is called on that one alone.
        """
        if all(code.suffix for code in container.codes):
            return []
        return [
            target
            for target in sorted(self.targets)
            if not any(
                runs_on(code.kind, code.arch, code.suffix, target) and (ptx_counts or code.kind == "cubin")
                for code in container.codes
            )
        ]


def _most(containers: Collection[ContainerFacts]) -> frozenset[int]:
    """The architectures that most containers have machine code for."""
    having = Counter(
        arch
        for container in containers
        for arch in {code.arch for code in container.codes if code.kind == "cubin" and not code.suffix}
    )
    full = sum(any(not code.suffix for code in container.codes) for container in containers)
    return frozenset(arch for arch, count in having.items() if 2 * count > full)


def _contents(
    library: "LibraryFacts", name: str, wanted: _Wanted, own: Sequence[ContainerFacts], origin: Origin
) -> Iterator[Finding]:
    """Nothing is missing and nothing superfluous in what a library has in all."""
    main = library.path.name == MAIN_LIBRARY
    official = origin is not Origin.SOURCE
    codes = [code for container in own for code in container.codes]
    chosen = [code for container in own for code in wanted.chosen(container)]
    # Objects, because equal code in two containers is not the same code.
    extra = Counter(codes)
    extra.subtract(chosen)
    stray = [code for code, count in extra.items() if count > 0]
    found = {
        code.arch for code in chosen if code.kind == "cubin" and (wanted.specific or not code.suffix)
    } & wanted.targets
    has = code_names(codes, wanted.specific)
    size = sum(code.size for code in codes) / 1e6
    where = f"{name}: {len(own)} containers, {size:.1f} MB"
    if not own:
        return
    if official and not main and wanted.targets and not codes:
        # MAGMA in PyTorch 2.11 has nothing that an sm_75 runs.
        yield note("GPU code", wanted.names, (), where, "what needs it will not run")
    elif official and chosen and not stray and (found == wanted.targets or not main):
        # MAGMA in PyTorch 2.10 lacks sm_75, and has sm_70 code that runs there.
        yield ok("GPU code", wanted.names, has, where, "" if has == wanted.names else "it runs there")
    elif official and len(wanted.targets) > 1 and wanted.targets == (most := _most(own)):
        others = [code for code in stray if code.arch not in most or code.kind != "cubin"]
        detail = f"also {' '.join(code_names(others))}" if others else ""
        yield ok("GPU code", wanted.names, tuple(f"sm_{arch}" for arch in sorted(most)), where, detail)
    elif official and not main and len(wanted.targets) > 1 and not any(map(wanted.lacking, own)):
        yield ok("GPU code", wanted.names, has, where, "as it came")
    elif missing := sorted(wanted.targets - found):
        detail = f"no code for {' '.join(f'sm_{arch}' for arch in missing)}"
        yield wrong("GPU code", wanted.names, has, where, detail, kind="missing", subject=name)
    elif stray or not wanted.targets:
        kinds: tuple[tuple[Kind, bool], ...] = (("extra", False), ("ptx", True))
        for kind, ptx in kinds:
            if rest := [code for code in stray if (code.kind == "ptx") == ptx]:
                detail = f"{' '.join(code_names(rest))} not in the name"
                yield wrong("GPU code", wanted.names, has, where, detail, kind=kind, subject=name)
    else:
        yield expect("GPU code", wanted.names, has, where)


def _was_for(names: Iterable[str], targets: Iterable[int]) -> bool:
    """Whether a GPU of these would have run machine code of these names."""
    for name in names:
        number = name.removeprefix("sm_").rstrip("af")
        suffix = name[len("sm_" + number) :]
        if number.isdigit() and any(runs_on("cubin", int(number), suffix, target) for target in targets):
            return True
    return False


def _each(
    name: str, wanted: _Wanted, containers: Sequence[ContainerFacts], cut: Cut | None
) -> Iterator[Finding]:
    """Every container that should have code for the targets has it."""
    check, total = "code in every container", sum(c.number is not None for c in containers)
    if cut and cut.containers != total:
        detail = f"retargeting left {cut.containers} containers, these are {total}"
        yield wrong(check, wanted.names, (), name, detail, kind="missing", subject=name)
        return
    explained = {n for n, had in (cut.emptied if cut else {}).items() if not _was_for(had, wanted.targets)}
    with_ptx = {n for n, had in (cut.ptx if cut else {}).items() if not _was_for(had, wanted.targets)}
    all_ptx = {code.kind for container in containers for code in container.codes} == {"ptx"}
    empty = [c for c in containers if not c.codes and c.number not in explained]
    # nvcc itself leaves an empty one where all that it makes is PTX.
    if empty and wanted.targets and not all_ptx:
        where = f"{name} at {empty[0].offset:#x}"
        detail = f"nothing in {len(empty)} of {len(containers)}"
        yield wrong(check, wanted.names, (), where, detail, kind="missing", subject=name)
    lacking = [c for c in containers if wanted.lacking(c) and c.number not in with_ptx]
    if lacking and wanted.targets:
        has = code_names(lacking[0].codes)
        where = f"{name} at {lacking[0].offset:#x}"
        detail = f"alone in {len(lacking)} of {len(containers)}"
        yield wrong(check, wanted.names, has, where, detail, kind="missing", subject=name)
    if explained:
        detail = f"{len(explained)} of {total} had code for other GPUs alone, which retargeting took out"
        yield note("emptied containers", (), (), name, detail)


def _wholeness(name: str, gpu: GpuFacts) -> Iterator[Finding]:
    for line in gpu.damaged[:1]:
        more = f", and {len(gpu.damaged) - 1} more" if len(gpu.damaged) > 1 else ""
        yield wrong("GPU code is whole", "whole", (), name, line + more)
    bad = [(c, code) for c in gpu.loadable for code in c.codes if code.problem]
    if bad:
        container, code = bad[0]
        detail = f"{code.problem}, one of {len(bad)}" if len(bad) > 1 else code.problem
        yield wrong("GPU code is whole", code.name, (), f"{name} at {container.offset:#x}", detail)
    if part := [code for code in gpu.codes if not code.whole and not code.problem and code.kind != "lto"]:
        size = sum(code.size for code in part) / 1e6
        detail = f"of {size:.1f} MB the begin was looked at"
        yield note("GPU code is whole", (), code_names(part), name, detail)


def _elsewhere(name: str, wanted: _Wanted, gpu: GpuFacts, *, own: bool) -> Iterator[Finding]:
    """Cubins and PTX text in no container, and containers that no wrapper leads to."""
    for container in [container for container in gpu.loadable if container.loose]:
        [code] = container.codes
        where = f"{name} at {container.offset:#x}, {container.place}"
        runs = code in wanted.chosen(container) and code.kind != "ptx"
        kind: Kind = "ptx" if code.kind == "ptx" else "extra"
        if runs:
            yield note("GPU code in no container", wanted.names, code.name, where)
        else:
            yield wrong("GPU code in no container", wanted.names, code.name, where, kind=kind, subject=name)
    lost = [c for c in gpu.loadable if not c.loose and not c.registered and c.codes]
    if lost:
        where = f"{name} at {lost[0].offset:#x}, {lost[0].place}"
        detail = f"no wrapper leads to {len(lost)} of {len(gpu.containers)}"
        # Other packages may hand a fat binary to the driver themselves.
        row = wrong if own else note
        yield row("registered GPU code", "registered", (), where, detail)


def _rows(library: "LibraryFacts", variant: Variant, origin: Origin, cut: Cut | None) -> Iterator[Finding]:
    wanted, gpu, companion = _Wanted.of(variant), library.gpu, library.role != "torch"
    name = library.path.name
    # What is in no package would be called plugin.so/plugin.so.
    if companion and name not in (library.package, library.name):
        name = f"{library.package}/{name}"
    needed = library.role == "needed"
    yield from _wholeness(name, gpu)
    containers = [c for c in gpu.loadable if not c.loose]
    linked = [
        c
        for c in containers
        if needed or (origin is Origin.SOURCE and wanted.targets and _is_linked(library, c))
    ]
    own = [c for c in containers if c not in linked] if linked else containers
    if origin is not Origin.SOURCE and library.path.name != MAIN_LIBRARY and gpu.codes:
        # MAGMA in PyTorch 2.11 has nothing that an sm_75 runs, in any of its containers.
        absent = frozenset(t for t in wanted.targets if all(t in wanted.lacking(c) for c in containers))
        if absent and absent < wanted.targets:
            names = [f"sm_{number}" for number in sorted(absent)]
            yield note("GPU code", names, (), name, "none in any container: what needs it will not run there")
            wanted = wanted.without(absent)
    rows = list(_contents(library, name, wanted, own, origin))
    yield from rows
    if not any(row.status == "wrong" for row in rows):
        yield from _each(name, wanted, containers, cut)
    if linked:
        codes = [code for container in linked for code in container.codes]
        whose = "not PyTorch's own" if needed else "of NCCL or MAGMA, linked from the shared set"
        where = f"{name}: {len(linked)} containers {whose}"
        yield note("linked GPU code", (), code_names(codes), where)
    yield from _elsewhere(name, wanted, gpu, own=not companion)
    if rest := [container for container in gpu.containers if container.linker_input]:
        codes = [code for container in rest for code in container.codes]
        where = f"{name}, {RELOCATABLE_SECTION_NAME}, {sum(code.size for code in codes) / 1e6:.1f} MB"
        yield note("device linker's input", (), code_names(codes), where, "never loaded")


def _is_bundled(library: "LibraryFacts") -> bool:
    """Whether it is NVIDIA's and bundled by auditwheel: torchvision.libs/libnvjpeg.8dd2b5e6.so.12."""
    path = PurePosixPath(library.name)
    return path.parts[0].endswith(".libs") and is_bundled(path)


def check_gpu(
    libraries: Sequence["LibraryFacts"],
    variant: Variant,
    origin: Origin,
    cuts: Mapping[str, Cut] | None = None,
) -> Iterator[Finding]:
    """The rows about the GPU code of every library that is not NVIDIA's own.

    `cuts` has what retargeting took out, by the libraries' names.
    """
    for library in libraries:
        if library.role == "nvidia" or library.error or _is_bundled(library):
            continue
        if f"{library.machine}-linux" not in variant.cpu.platforms and library.machine != "CUDA":
            where = library.name
            yield wrong("machine", variant.cpu.platforms, library.machine, where)
        yield from _rows(library, variant, origin, (cuts or {}).get(library.name))
    main = any(
        library.role == "torch" and library.path.name == MAIN_LIBRARY and library.gpu.codes
        for library in libraries
    )
    yield expect("CUDA build", "yes" if variant.gpus else "no", "yes" if main else "no", MAIN_LIBRARY)
