"""Whose kernels a container has, read from the host code that registers them with the CUDA runtime.

nvcc gives every object a function __sti____cudaRegisterAll. It, or the callback that it installs, loads the
addresses of the object's wrapper and of its kernels' names. The wrapper of what a device linker has joined is
loaded by functions whose names begin with __cudaRegisterLinkedBinary.
"""

import re
from collections.abc import Iterator

from pytorch_variants.binary.elf import (
    RELA,
    SHF_ALLOC,
    SHT_RELA,
    SHT_SYMTAB,
    STT_FUNC,
    Elf,
    ElfError,
    Section,
    Symbol,
)
from pytorch_variants.binary.fatbin import (
    POINTER,
    WRAPPER_SECTION_NAME,
    read_fatbins,
    read_wrappers,
)

_REGISTER = re.compile(
    r"(_ZL\d+)?(__sti____cudaRegisterAllv|__nv_cudaEntityRegisterCallbackPPv|__cudaRegisterLinkedBinary)"
)
_MOST = 1 << 16  # bytes of one such function
_NAME = re.compile(rb"_Z[!-~]+|[A-Za-z_]\w{3,}(?=\0)")
_PYTORCH = re.compile(rb"_ZN|2at|3c10|5torch|6caffe2|7cutlass|N22PyTorch")


def _addresses(elf: Elf, function: Symbol) -> Iterator[int]:
    """What the address-loading instructions of a function load."""
    import capstone  # Not where the GPU alone is tested.

    start = elf.offset_of(function.address)
    code = bytes(elf.data[start : start + min(function.size, _MOST)])
    if elf.machine == "x86_64":
        decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        for address, size, mnemonic, operands in decoder.disasm_lite(code, function.address):
            if mnemonic == "lea" and (match := re.search(r"\[rip ([+-]) (0x[0-9a-f]+|\d+)\]", operands)):
                yield address + size + int(match[1] + match[2], 0)
    elif elf.machine == "aarch64":
        decoder = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
        pages: dict[str, int] = {}
        for _, _, mnemonic, operands in decoder.disasm_lite(code, function.address):
            parts = operands.split(", ")
            if mnemonic == "adrp":
                pages[parts[0]] = int(parts[1].removeprefix("#"), 0)
            elif mnemonic == "add" and len(parts) == 3 and parts[1] in pages and parts[2].startswith("#"):
                yield pages[parts[1]] + int(parts[2].removeprefix("#"), 0)


def _kernel_name(elf: Elf, address: int) -> bytes | None:
    try:
        place = elf.offset_of(address)
    except ElfError:
        return None
    match = _NAME.match(bytes(elf.data[place : place + 512]))
    return match.group() if match else None


def _registered(elf: Elf, wrappers: range) -> tuple[dict[int, tuple[bytes, ...]], frozenset[int]]:
    """The names of the kernels that each wrapper is registered with; the wrappers of device-linked code."""
    symbols = elf.symbols(SHT_SYMTAB)
    functions = {s.address: s for s in symbols if s.kind == STT_FUNC and _REGISTER.match(s.name)}
    names: dict[int, tuple[bytes, ...]] = {}
    joined: set[int] = set()
    for function in functions.values():
        loaded = list(_addresses(elf, function))
        own = [address for address in loaded if address in wrappers]
        if "RegisterLinkedBinary" in function.name:
            joined.update(own)
        elif function.name.endswith("RegisterAllv"):
            for callback in [functions[address] for address in loaded if address in functions]:
                loaded += _addresses(elf, callback)
            found = [_kernel_name(elf, address) for address in loaded]
            names |= dict.fromkeys(own, tuple(name for name in found if name))
    return names, frozenset(joined)


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

    Those are NCCL's in libtorch_cuda.so and MAGMA's in libtorch_cuda_linalg.so. NCCL is device-linked, and
    PyTorch's own code is not. Whatever cannot be told counts as PyTorch's own.
    """
    section = elf.section(WRAPPER_SECTION_NAME)
    if section is None:
        return frozenset()
    names, joined = _registered(elf, range(section.address, section.address + section.size))
    found = set()
    for pointer, target in _pointers(elf, section).items():
        wrapper = pointer - POINTER
        kernels = names.get(wrapper, ())
        foreign = bool(kernels) and not any(_PYTORCH.search(kernel) for kernel in kernels)
        if name == "libtorch_cuda.so":
            linked = wrapper in joined or (foreign and all(b"nccl" in kernel for kernel in kernels))
        else:
            linked = foreign and name == "libtorch_cuda_linalg.so"
        if linked:
            found.add(elf.offset_of(target))
    return frozenset(found & {container.offset for container in read_fatbins(elf)})
