"""GPU code itself: what a cubin's own ELF header and PTX text say that they are for, and their unpacking.

The layout of e_flags is that of LLVM's BinaryFormat/ELF.h (EF_CUDA_*), and agrees with the cubins that ptxas
12.6, 12.8, 12.9, 13.0 and 13.5 make for every architecture that they know.
"""

import re
import struct
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

from pytorch_variants.binary.elf import EM_CUDA, HEADER, SECTION, SEGMENT, SHT_NOBITS
from pytorch_variants.errors import UserError

if TYPE_CHECKING:
    import zstandard

ELF_MAGIC = b"\x7fELF"
PTX_MARK = b".target sm_"
# The two come first in PTX, with nothing but comments between them.
_PTX = re.compile(
    rb"\.version\s+\d+\.\d+\s(?:\s|//[^\n]*\n|/\*.*?\*/)*\.target sm_(\d{2,3})([af]?)\b", re.DOTALL
)
# What libnvfatbin leaves of it: the version stands in the entry's header.
_PTX_WITHOUT_VERSION = re.compile(rb"\s*\.target sm_(\d{2,3})([af]?)\b")
_PTX_TARGET = 32  # bytes of what stands behind .version
# Bytes within which .version and .target stand, with the comment that nvcc puts in front.
PTX_HEAD = 4096

_SECOND_ABI = 8  # EI_ABIVERSION, from CUDA 13 on and for sm_100 and later from 12.8 on
_FIRST_ACCELERATED, _SECOND_ACCELERATED = 0x800, 0x8
_SHF_EXECINSTR = 4
_SHT_LOOS = 0x60000000
# No cubin of PyTorch's, vLLM's or xFormers' comes near. What is larger is looked at in part.
MOST_UNPACKED = 256 << 20
_LZ4_RATIO = 255  # LZ4 cannot do better


class PayloadError(UserError):
    """A payload that is not what its entry says; the message says what it is."""


@dataclass(frozen=True)
class Target:
    """What code says that it is for. `suffix` is None where the code does not say: ptxas 13 leaves it out.

    `functions` tells whether there are any, as far as is known.
    """

    kind: Literal["cubin", "ptx"]
    arch: int
    suffix: str | None
    relocatable: bool = False
    functions: bool = True


def cubin_target(data: bytes | memoryview) -> Target:
    """What the header of a cubin says that it is for."""
    ident, type_, _, _, _, _, _, flags, *_ = HEADER.unpack_from(data)
    if ident[8] >= _SECOND_ABI:
        # Only CUDA 12 sets the bit.
        suffix = "a" if flags & _SECOND_ACCELERATED else None
        return Target("cubin", flags >> 8 & 0xFF, suffix, type_ == 1)
    return Target("cubin", flags & 0xFF, "a" if flags & _FIRST_ACCELERATED else "", type_ == 1)


def is_cubin(data: bytes | memoryview) -> bool:
    """Whether data begin as a cubin does."""
    return (
        len(data) >= HEADER.size
        and bytes(data[:6]) == ELF_MAGIC + b"\2\1"
        and int.from_bytes(data[18:20], "little") == EM_CUDA
    )


def _sections(data: bytes | memoryview) -> memoryview:
    header = HEADER.unpack_from(data)
    start, count = header[6], header[12]
    if not start:
        return memoryview(b"")
    if start + SECTION.size > len(data):
        raise PayloadError("a cubin that is cut off")
    count = count or int(SECTION.unpack_from(data, start)[5])
    if start + count * SECTION.size > len(data):
        raise PayloadError("a cubin that is cut off")
    return memoryview(data)[start : start + count * SECTION.size]


def _in_the_file(type_: int) -> bool:
    """Whether a section of this type is bytes of the file; NVIDIA has types of its own for memory alone."""
    return type_ != SHT_NOBITS and type_ < _SHT_LOOS


def cubin_size(data: memoryview) -> int:
    """The bytes of the cubin that these data begin with; 0 if they begin with none."""
    if not is_cubin(data):
        return 0
    header = HEADER.unpack_from(data)
    size: int = max(HEADER.size, header[5] + header[10] * SEGMENT.size)
    try:
        table = _sections(data)
    except PayloadError:
        return min(size, len(data))
    size = max(size, header[6] + len(table))
    for _, type_, _, _, start, length, _, _, _, _ in SECTION.iter_unpack(table):
        if _in_the_file(type_):
            size = max(size, start + length)
    return min(size, len(data))


def read_cubin(data: bytes) -> Target:
    """What a whole cubin is for. Raises PayloadError on what is none, is cut off or has no code in it."""
    if not is_cubin(data):
        raise PayloadError("zeros" if data.count(0) == len(data) else "no cubin")
    header = HEADER.unpack_from(data)
    if header[5] + header[10] * SEGMENT.size > len(data):
        raise PayloadError("a cubin that is cut off")
    table = _sections(data)
    used = code = empty = 0
    for _, type_, flags, _, start, size, _, _, _, _ in SECTION.iter_unpack(table):
        used += type_ != 0
        if not _in_the_file(type_) or not size:
            continue
        if start + size > len(data):
            raise PayloadError("a cubin that is cut off")
        if flags & _SHF_EXECINSTR:
            code += 1
            # The comparison ends at the first byte that is none.
            empty += data.startswith(bytes(size), start) if not data[start] else False
    if header[6] and not used:
        raise PayloadError("a cubin of zeros behind its header")
    if empty:
        raise PayloadError(f"a cubin with zeros in place of code, in {empty} of {code} functions")
    return replace(cubin_target(data), functions=code > 0)


def read_ptx(data: bytes) -> Target:
    """What PTX text is for. Raises PayloadError on what is none or is cut off."""
    target = _PTX.search(data[:PTX_HEAD]) or _PTX_WITHOUT_VERSION.match(data)
    if not target:
        raise PayloadError("zeros" if data.count(0) == len(data) else "no PTX text")
    return Target("ptx", int(target[1]), target[2].decode())


def is_ptx(head: bytes) -> bool:
    """Whether a text begins as PTX does."""
    return bool(_PTX.search(head))


def loose_ptx(data: memoryview, place: int) -> Target | None:
    """What the PTX text is for that has PTX_MARK at a place in a file; None for a text that only has that."""
    head = bytes(data[max(0, place - PTX_HEAD // 2) : place + _PTX_TARGET])
    # The last one, which ends at the mark.
    start = head.rfind(b".version")
    target = _PTX.match(head, start) if start >= 0 else None
    return Target("ptx", int(target[1]), target[2].decode()) if target else None


def check_size(compression: str, packed: memoryview, size: int) -> None:
    """Raise PayloadError if packed bytes cannot be so many once they are unpacked, before any are."""
    if compression == "lz4" and size > _LZ4_RATIO * len(packed) + 64:
        raise PayloadError(f"{len(packed)} bytes that cannot be {size} once unpacked")
    if compression == "zstd":
        import zstandard

        try:
            # Memory is taken for what a frame says, whatever the limit.
            said = zstandard.frame_content_size(packed)
        except zstandard.ZstdError as error:
            raise PayloadError("damaged: it does not unpack") from error
        if said not in (-1, size):
            raise PayloadError(f"{said} bytes once unpacked in place of {size}")


def unpack_lz4(packed: memoryview, size: int) -> bytes:
    """Unpack one LZ4 block. Raises PayloadError where that does not give exactly `size` bytes."""
    import lz4.block  # Slow to import, and not where the GPU alone is tested.

    check_size("lz4", packed, size)
    try:
        data: bytes = lz4.block.decompress(packed, uncompressed_size=size)
    except (lz4.block.LZ4BlockError, ValueError) as error:
        raise PayloadError("damaged: it does not unpack") from error
    if len(data) != size:
        raise PayloadError(f"{len(data)} bytes once unpacked in place of {size}")
    return data


@cache
def _zstd() -> "zstandard.ZstdDecompressor":
    import zstandard

    return zstandard.ZstdDecompressor()


def unpack_zstd(packed: memoryview, size: int) -> bytes:
    """Unpack one Zstandard frame. Raises PayloadError where that does not give exactly `size` bytes."""
    import zstandard

    check_size("zstd", packed, size)
    try:
        data = _zstd().decompress(packed, max_output_size=size)
    except zstandard.ZstdError as error:
        raise PayloadError("damaged: it does not unpack") from error
    if len(data) != size:
        raise PayloadError(f"{len(data)} bytes once unpacked in place of {size}")
    return data


def lz4_head(packed: bytes, size: int) -> bytes:
    """The first bytes that an LZ4 block unpacks to, `size` at most. Raises PayloadError."""
    out, place = bytearray(), 0

    def length(nibble: int) -> int:
        nonlocal place
        total, more = nibble, nibble == 15
        while more:
            total += packed[place]
            more = packed[place] == 255
            place += 1
        return total

    try:
        while len(out) < size:
            token = packed[place]
            place += 1
            count = length(token >> 4)
            out += packed[place : place + count]
            place += count
            if place >= len(packed) or len(out) >= size:
                break
            back = struct.unpack_from("<H", packed, place)[0]
            place += 2
            count = length(token & 15) + 4
            if not 0 < back <= len(out):
                raise PayloadError("damaged: it does not unpack")
            for _ in range(min(count, size - len(out))):
                out.append(out[-back])
    except (IndexError, struct.error) as error:
        raise PayloadError("damaged: it does not unpack") from error
    return bytes(out[:size])
