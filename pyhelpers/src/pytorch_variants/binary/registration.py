"""Whose kernels a container has, read from the host code that registers them with the CUDA runtime.

nvcc gives every object a function __sti____cudaRegisterAll. It, or the callback that it installs, loads the
addresses of the object's wrapper and of its kernels' names. The wrapper of what a device linker has joined is
loaded by functions whose names begin with __cudaRegisterLinkedBinary.
"""

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from enum import StrEnum

from pytorch_variants.binary.elf import (
    SHT_SYMTAB,
    STT_FUNC,
    Elf,
    ElfError,
    Symbol,
)
from pytorch_variants.binary.fatbin import find_wrappers

_REGISTER = (
    b"__sti____cudaRegisterAllv",
    b"__nv_cudaEntityRegisterCallbackPPv",
    b"__cudaRegisterLinkedBinary",
)
_MANGLED = len("_ZL34")  # what may be in front
_MOST = 1 << 16  # bytes of one such function
_MOST_FUNCTIONS = 1 << 16
# lea of an address that is relative to the next instruction, into any register of 64 bits.
_LEA = re.compile(rb"[\x48-\x4f]\x8d[\x05\x0d\x15\x1d\x25\x2d\x35\x3d](....)", re.DOTALL)
_NAME = re.compile(rb"_Z[!-~]+|[A-Za-z_]\w{3,}(?=\0)")
_PYTORCH = re.compile(rb"_ZN|2at|3c10|5torch|6caffe2|7cutlass|N22PyTorch")


class Whose(StrEnum):
    """Whose kernels a container has, if that can be told; JOINED is what a device linker made of several."""

    UNKNOWN = "unknown"
    PYTORCH = "PyTorch"
    NCCL = "NCCL"
    OTHER = "other"
    JOINED = "device-linked"


def _addresses(elf: Elf, function: Symbol) -> Iterator[int]:
    """What the address-loading instructions of a function load."""
    start = elf.offset_of(function.address)
    code = bytes(elf.data[start : start + min(function.size, _MOST)])
    if elf.machine == "x86_64":
        # Disassembling them takes longer than all else that is read of GPU code. What has the same bytes by
        # chance leads nowhere.
        for match in _LEA.finditer(code):
            yield function.address + match.end() + int.from_bytes(match[1], "little", signed=True)
    elif elf.machine == "aarch64":
        import capstone  # Not where the GPU alone is tested.

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


def _registered(elf: Elf, wrappers: Collection[int]) -> tuple[dict[int, tuple[bytes, ...]], frozenset[int]]:
    """The names of the kernels that each wrapper is registered with; the wrappers of device-linked code."""
    found_symbols = elf.symbols_with(SHT_SYMTAB, _REGISTER, _MANGLED, _MOST_FUNCTIONS)
    functions = {symbol.address: symbol for symbol in found_symbols if symbol.kind == STT_FUNC}
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


def _address_of(elf: Elf, offset: int) -> int:
    segment = elf.segment_at(offset)
    return offset - segment.offset + segment.address if segment else -1


def whose_containers(elf: Elf) -> dict[int, Whose]:
    """Whose kernels each container has, by its place in the file, if that can be told. Raises UserError."""
    targets = {_address_of(elf, place): target for place, target in find_wrappers(elf)}
    names: dict[int, tuple[bytes, ...]] = {}
    joined: frozenset[int] = frozenset()
    # Symbols that lead nowhere tell nothing.
    with suppress(ElfError):
        names, joined = _registered(elf, targets)
    found: dict[int, Whose] = {}
    for wrapper, target in targets.items():
        kernels = names.get(wrapper, ())
        if wrapper in joined:
            found[target] = Whose.JOINED
        elif any(_PYTORCH.search(kernel) for kernel in kernels):
            found[target] = Whose.PYTORCH
        elif kernels:
            found[target] = Whose.NCCL if all(b"nccl" in kernel for kernel in kernels) else Whose.OTHER
    return found
