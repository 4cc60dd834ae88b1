"""Verification of GPU code: the architectures in the machine code of every library of PyTorch's."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytorch_variants.binary.elf import Elf
from pytorch_variants.binary.fatbin import (
    RELOCATABLE_SECTION_NAME,
    Container,
    Entry,
    find_elsewhere,
    read_fatbins,
)
from pytorch_variants.binary.registration import linked_containers
from pytorch_variants.findings import (
    Finding,
    Origin,
    expect,
    note,
    ok,
    wrong,
)
from pytorch_variants.hardware.compatibility import select
from pytorch_variants.names.variant import Variant

if TYPE_CHECKING:
    from pytorch_variants.verify.facts import LibraryFacts

MAIN_LIBRARY = "libtorch_cuda.so"


@dataclass(frozen=True)
class GpuFacts:
    """The GPU code of one library: `containers` is what the runtime loads.

    `relocatable` is the device linker's input, `elsewhere` what lies where nvcc puts none, `linked` the
    places of containers that come from NCCL or MAGMA.
    """

    containers: tuple[Container, ...] = ()
    relocatable: tuple[Container, ...] = ()
    elsewhere: tuple[tuple[str, Container], ...] = ()
    linked: frozenset[int] = frozenset()


def _names(entries: Iterable[Entry], specific: bool = False) -> tuple[str, ...]:
    kinds = {(entry.kind, entry.arch, entry.suffix) for entry in entries}
    if not specific:
        # sm_90a belongs to a build for sm_90: PyTorch adds such kernels by itself. Alone it does not.
        kinds = {
            (kind, arch, suffix if (kind, arch, "") not in kinds else "") for kind, arch, suffix in kinds
        }
    return tuple(
        f"{'sm' if kind == 'cubin' else 'PTX'}_{arch}{suffix}" for kind, arch, suffix in sorted(kinds)
    )


def _lacking(containers: Iterable[Container], targets: set[int]) -> list[Container]:
    """Containers with code for every GPU of some generation, and none that a target runs.

    What is made for one architecture alone (sm_90a) is called on that one alone.
    """
    return [
        container
        for container in containers
        if any(not entry.suffix for entry in container.entries)
        and any(not select(container.entries, {target}) for target in targets)
    ]


def check_library(
    name: str,
    containers: tuple[Container, ...],
    variant: Variant,
    origin: Origin,
    linked: frozenset[int] = frozenset(),
    *,
    companion: bool = False,
) -> Iterator[Finding]:
    """Nothing is missing and nothing superfluous in one library's GPU code.

    `linked` are the places of containers that come from NCCL or MAGMA, where PyTorch is compiled: they are
    built for more GPUs than PyTorch is. They have to have code for the targets, and may have other.
    """
    main = name == MAIN_LIBRARY
    official = origin is not Origin.SOURCE
    targets = {gpu.number for gpu in variant.gpus}
    with_ptx = any(gpu.target.endswith("+PTX") for gpu in variant.gpus)
    specific = any(gpu.name[-1] in "af" for gpu in variant.gpus)
    own = [container for container in containers if container.offset not in linked]
    entries = [entry for container in own for entry in container.entries]
    chosen = [e for container in own for e in select(container.entries, targets, with_ptx)]
    stray = len(entries) > len(chosen)
    found = {
        entry.arch for entry in chosen if entry.kind == "cubin" and (specific or not entry.suffix)
    } & targets
    expected = tuple(f"sm_{gpu.name[2:]}" for gpu in variant.gpus)
    size = sum(entry.size for entry in entries) / 1e6
    where = f"{name}: {len(own)} containers, {size:.1f} MB"
    if chosen and not stray and (variant.package == "pytorch-bin" or (official and not main)):
        # MAGMA in PyTorch 2.10 lacks sm_75, and has sm_70 code that runs there.
        runs = _names(entries, specific)
        row = ok("GPU code", expected, runs, where, "" if runs == expected else "which the GPU runs")
    elif official and companion and stray and found == targets:
        row = note("GPU code", expected, _names(entries, specific), where, "as it came")
    elif official and not main and targets and not entries:
        # MAGMA in PyTorch 2.11 has nothing that an sm_75 runs.
        row = note("GPU code", expected, (), where, "none: what needs it will not run")
    else:
        row = expect("GPU code", expected, _names(entries, specific), where)
    if own:
        yield row
    lacking = _lacking(containers, targets)
    if row.status != "wrong" and lacking:
        yield wrong(
            "code in every container",
            expected,
            _names(lacking[0].entries, specific=True),
            f"{name} at {lacking[0].offset:#x}",
            f"alone in {len(lacking)} of {len(containers)}",
        )
    if linked:
        others = [e for container in containers if container.offset in linked for e in container.entries]
        yield note(
            "linked GPU code",
            expected,
            _names(others),
            f"{name}: {len(linked)} containers of NCCL or MAGMA, linked from the shared set",
        )


def read_gpu(elf: Elf, name: str) -> GpuFacts:
    """Read a library's GPU code; `name` is the file's. Raises UserError where it is not whole."""
    containers = read_fatbins(elf)
    several = {entry.arch for container in containers for entry in container.entries}
    return GpuFacts(
        containers=containers,
        relocatable=read_fatbins(elf, RELOCATABLE_SECTION_NAME),
        elsewhere=tuple(find_elsewhere(elf)),
        # Costly to tell, and of interest only where there may be more than the targets.
        linked=linked_containers(elf, name) if len(several) > 1 else frozenset(),
    )


def _rows(library: "LibraryFacts", variant: Variant, origin: Origin) -> Iterator[Finding]:
    name, gpu = library.path.name, library.gpu
    targets = {gpu.number for gpu in variant.gpus}
    companion = library.role != "torch"
    if companion:
        name = f"{library.package}/{name}"
    if f"{library.machine}-linux" not in variant.cpu.platforms:
        yield wrong("machine", variant.cpu.platforms, library.machine, name)
    if gpu.containers:
        more = any(entry.arch not in targets for container in gpu.containers for entry in container.entries)
        linked = gpu.linked if origin is Origin.SOURCE and more and targets else frozenset[int]()
        yield from check_library(name, gpu.containers, variant, origin, linked, companion=companion)
    if gpu.relocatable:
        entries = [entry for container in gpu.relocatable for entry in container.entries]
        where = f"{name}, {RELOCATABLE_SECTION_NAME}, {sum(e.size for e in entries) / 1e6:.1f} MB"
        yield note("device linker's input", (), _names(entries), where, "never loaded")
    for section, container in gpu.elsewhere:
        found = (*_names(container.entries, specific=True), f"in {section}")
        yield wrong("GPU code", "in .nv_fatbin", found, f"{name} at {container.offset:#x}")


def check_gpu(libraries: Sequence["LibraryFacts"], variant: Variant, origin: Origin) -> Iterator[Finding]:
    """The rows about the GPU code of every library that is not NVIDIA's own."""
    for library in libraries:
        if library.role != "nvidia" and not library.error:
            yield from _rows(library, variant, origin)
    main = any(
        library.role == "torch" and library.path.name == MAIN_LIBRARY and library.gpu.containers
        for library in libraries
    )
    yield expect("CUDA build", "yes" if variant.gpus else "no", "yes" if main else "no", MAIN_LIBRARY)
