"""Verification of GPU code: the architectures in the machine code of every library of PyTorch's."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from pytorch_variants.binary.elf import (
    Elf,
    open_elf,
)
from pytorch_variants.binary.fatbin import (
    RELOCATABLE_SECTION_NAME,
    Container,
    Entry,
    find_elsewhere,
    read_fatbins,
)
from pytorch_variants.binary.registration import linked_containers
from pytorch_variants.errors import UserError
from pytorch_variants.findings import (
    COMPILED,
    Finding,
    expect,
)
from pytorch_variants.hardware.compatibility import select
from pytorch_variants.names.variant import Variant
from pytorch_variants.verify.environment import libraries

MAIN_LIBRARY = "libtorch_cuda.so"


def _names(entries: Iterable[Entry], specific: bool = False) -> str:
    kinds = {(entry.kind, entry.arch, entry.suffix) for entry in entries}
    if not specific:
        # sm_90a belongs to a build for sm_90: PyTorch adds such kernels by itself. Alone it does not.
        kinds = {
            (kind, arch, suffix if (kind, arch, "") not in kinds else "") for kind, arch, suffix in kinds
        }
    names = [f"{'sm' if kind == 'cubin' else 'PTX'}_{arch}{suffix}" for kind, arch, suffix in sorted(kinds)]
    return " ".join(names) or "none"


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
    origin: str,
    linked: frozenset[int] = frozenset(),
    *,
    companion: bool = False,
) -> Iterator[Finding]:
    """Nothing is missing and nothing superfluous in one library's GPU code.

    `linked` are the places of containers that come from NCCL or MAGMA, where PyTorch is compiled: they are
    built for more GPUs than PyTorch is. They have to have code for the targets, and may have other.
    """
    main = name == MAIN_LIBRARY
    official = origin != COMPILED
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
    expected = " ".join(f"sm_{gpu.name[2:]}" for gpu in variant.gpus) or "none"
    size = sum(entry.size for entry in entries) / 1e6
    where = f"{name}: {len(own)} containers, {size:.1f} MB"
    if chosen and not stray and (variant.package == "pytorch-bin" or (official and not main)):
        # MAGMA in PyTorch 2.10 lacks sm_75, and has sm_70 code that runs there.
        runs = _names(entries, specific)
        row = Finding(
            "ok", "GPU code", expected, runs if runs == expected else f"{runs}, which {expected} runs", where
        )
    elif official and companion and stray and found == targets:
        row = Finding("note", "GPU code", expected, f"{_names(entries, specific)}, as it came", where)
    elif official and not main and targets and not entries:
        # MAGMA in PyTorch 2.11 has nothing that an sm_75 runs.
        row = Finding("note", "GPU code", expected, "none: what needs it will not run", where)
    else:
        row = expect("GPU code", expected, _names(entries, specific), where)
    if own:
        yield row
    lacking = _lacking(containers, targets)
    if row.status != "wrong" and lacking:
        yield Finding(
            "wrong",
            "code in every container",
            expected,
            f"{_names(lacking[0].entries, specific=True)} alone in {len(lacking)} of {len(containers)}",
            f"{name} at {lacking[0].offset:#x}",
        )
    if linked:
        others = [e for container in containers if container.offset in linked for e in container.entries]
        yield Finding(
            "note",
            "linked GPU code",
            expected,
            _names(others),
            f"{name}: {len(linked)} containers of NCCL or MAGMA, linked from the shared set",
        )


def _linked(
    elf: Elf, name: str, containers: tuple[Container, ...], variant: Variant, origin: str
) -> frozenset[int]:
    # Costly to tell, and of interest only where there is more than the targets.
    targets = {gpu.number for gpu in variant.gpus}
    more = any(entry.arch not in targets for container in containers for entry in container.entries)
    return linked_containers(elf, name) if origin == COMPILED and more and targets else frozenset()


def _device_linker_code(name: str, elf: Elf) -> Iterator[Finding]:
    if containers := read_fatbins(elf, RELOCATABLE_SECTION_NAME):
        entries = [entry for container in containers for entry in container.entries]
        where = f"{name}, {RELOCATABLE_SECTION_NAME}, {sum(e.size for e in entries) / 1e6:.1f} MB"
        yield Finding("note", "device linker's input", "", f"{_names(entries)}, never loaded", where)


def _odd_sections(name: str, elf: Elf) -> Iterator[Finding]:
    for section, container in find_elsewhere(elf):
        found = f"{_names(container.entries, specific=True)} in {section}"
        yield Finding("wrong", "GPU code", "in .nv_fatbin", found, f"{name} at {container.offset:#x}")


def check_companion_code(path: Path, package: str, variant: Variant, origin: str) -> Iterator[Finding]:
    """The rows about one library of a companion: official ones come with code for every GPU."""
    name = f"{package}/{path.name}"
    try:
        with open_elf(path) as elf:
            containers = read_fatbins(elf)
    except UserError as error:
        yield Finding("wrong", "GPU code", "readable", str(error), name)
        return
    if containers:
        yield from check_library(name, containers, variant, origin, companion=True)


def check_gpu_code(torch: Path, variant: Variant, origin: str) -> Iterator[Finding]:
    """The rows about every library below a torch package."""
    with_code = set()
    for library in libraries(torch):
        try:
            with open_elf(library) as elf:
                if f"{elf.machine}-linux" not in variant.cpu.platforms:
                    expected = " ".join(variant.cpu.platforms)
                    yield Finding("wrong", "machine", expected, elf.machine, library.name)
                containers = read_fatbins(elf)
                if containers:
                    with_code.add(library.name)
                    linked = _linked(elf, library.name, containers, variant, origin)
                    yield from check_library(library.name, containers, variant, origin, linked)
                yield from _device_linker_code(library.name, elf)
                yield from _odd_sections(library.name, elf)
        except UserError as error:
            yield Finding("wrong", "GPU code", "readable", str(error), library.name)
    yield expect(
        "CUDA build",
        "yes" if variant.gpus else "no",
        "yes" if MAIN_LIBRARY in with_code else "no",
        MAIN_LIBRARY,
    )
