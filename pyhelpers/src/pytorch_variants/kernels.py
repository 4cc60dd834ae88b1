"""Whose kernels a container has, read from the host code that registers them with the CUDA runtime.

nvcc gives every object a function __sti____cudaRegisterAll. It, or the callback that it installs, loads the
addresses of the object's wrapper and of its kernels' names. Where a device linker has joined objects, the
wrappers are symbols named __fatbinwrap_.
"""

import re
from collections.abc import Iterator

from pytorch_variants.elf import (
    RELA,
    SHF_ALLOC,
    SHT_RELA,
    SHT_SYMTAB,
    STT_FUNC,
    STT_OBJECT,
    Elf,
    ElfError,
    Section,
    Symbol,
)
from pytorch_variants.fatbin import POINTER, WRAPPER_SECTION_NAME, read_fatbins, read_wrappers

_REGISTER = re.compile(r"_ZL\d+(__sti____cudaRegisterAllv|__nv_cudaEntityRegisterCallbackPPv)$")
_MOST = 1 << 16  # bytes of one such function
_NAME = re.compile(rb"_Z[!-~]+|nccl[!-~]+")
_PYTORCH = re.compile(rb"_ZN|2at|3c10|5torch|6caffe2|7cutlass|N22PyTorch")


def _addresses(elf: Elf, function: Symbol) -> Iterator[int]:
    """What the address-loading instructions of a function load."""
    import capstone  # Not where the GPU alone is tested.

    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    start = elf.offset_of(function.address)
    code = bytes(elf.data[start : start + min(function.size, _MOST)])
    for address, size, mnemonic, operands in decoder.disasm_lite(code, function.address):
        if mnemonic == "lea" and (match := re.search(r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]", operands)):
            yield address + size + int(match[1] + match[2], 0)


def _kernel_names(elf: Elf) -> dict[int, tuple[bytes, ...]]:
    """The names of the kernels that are registered with each wrapper, by the wrapper's address."""
    section = elf.section(WRAPPER_SECTION_NAME)
    if section is None or elf.machine != "x86_64":
        return {}
    wrappers = range(section.address, section.address + section.size)
    functions = {
        s.address: s for s in elf.symbols(SHT_SYMTAB) if s.kind == STT_FUNC and _REGISTER.match(s.name)
    }
    names: dict[int, tuple[bytes, ...]] = {}
    for function in functions.values():
        if not function.name.endswith("RegisterAllv"):
            continue
        loaded = list(_addresses(elf, function))
        for callback in [functions[address] for address in loaded if address in functions]:
            loaded += _addresses(elf, callback)
        found = []
        for address in loaded:
            try:
                place = elf.offset_of(address)
            except ElfError:
                continue
            if match := _NAME.match(bytes(elf.data[place : place + 512])):
                found.append(match.group())
        for address in loaded:
            if address in wrappers:
                names[address] = tuple(found)
    return names


def _pointers(elf: Elf, section: Section) -> dict[int, int]:
    """Where the wrappers point once the file is loaded: the pointer's address to the container's."""
    shift = section.address - section.offset
    pointers = {w.pointer_offset + shift: w.value for w in read_wrappers(elf)}
    for table in elf.sections:
        if table.type == SHT_RELA and table.flags & SHF_ALLOC:
            rows = elf.contents(table)
            for place, _, addend in RELA.iter_unpack(rows[: len(rows) - len(rows) % RELA.size]):
                if place in pointers:
                    pointers[place] = addend
    return pointers


def linked_containers(elf: Elf, name: str) -> frozenset[int]:
    """The places in the file of containers that PyTorch's build links in and does not compile.

    Those are NCCL's in libtorch_cuda.so and MAGMA's in libtorch_cuda_linalg.so. Whatever cannot be told
    counts as PyTorch's own.
    """
    section = elf.section(WRAPPER_SECTION_NAME)
    if section is None:
        return frozenset()
    names = _kernel_names(elf)
    joined = {
        symbol.address
        for symbol in elf.symbols(SHT_SYMTAB)
        if symbol.kind == STT_OBJECT and symbol.name.startswith("__fatbinwrap_")
    }
    places = {container.offset for container in read_fatbins(elf)}
    found = set()
    for pointer, target in _pointers(elf, section).items():
        wrapper = pointer - POINTER
        kernels = names.get(wrapper, ())
        if name == "libtorch_cuda.so":
            linked = wrapper in joined or (bool(kernels) and all(b"nccl" in kernel for kernel in kernels))
        else:
            linked = bool(kernels) and not any(_PYTORCH.search(kernel) for kernel in kernels)
        if linked:
            found.add(elf.offset_of(target))
    return frozenset(found & places)
