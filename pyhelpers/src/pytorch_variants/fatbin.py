"""Read CUDA fat binaries: the GPU code in a library's section .nv_fatbin.

The section holds containers, one per translation unit, and these hold entries: cubins (machine code of one
SM architecture) and PTX (code that the driver compiles). The layout is not documented by NVIDIA; what is
read here was found in PyTorch's official wheels and is held against NVIDIA's cuobjdump by the tests.
`__nv_relfatbin`, the input of nvcc's device linker, is not read: nothing loads it at run time.
"""

import struct
from dataclasses import dataclass
from typing import Literal

from pytorch_variants.elf import Elf, Section
from pytorch_variants.errors import UserError

SECTION = ".nv_fatbin"
WRAPPERS = ".nvFatBinSegment"

# Magic number, version, size of this header, size of the payload.
CONTAINER = struct.Struct("<IHHQ")
CONTAINER_MAGIC = 0xBA55ED50
# Kind, version, size of this header, size of the payload, … architecture, … flags.
ENTRY = struct.Struct("<HHIQ12xI8xQ")
# Magic number, version, address of the container, address of the linked fat binaries.
WRAPPER = struct.Struct("<IIQQ")
WRAPPER_MAGIC = 0x466243B1

_KINDS: dict[int, Literal["ptx", "cubin"]] = {1: "ptx", 2: "cubin"}
# sm_90a: code with instructions of this architecture alone.
_ARCHITECTURE_SPECIFIC = 0x100000


class FatbinError(UserError):
    """A fat binary that cannot be read."""


@dataclass(frozen=True)
class Entry:
    """A cubin or a PTX text. `offset` is from the start of the file, `size` is with its header (bytes).

    `arch` is the SM architecture as a number, 90 for sm_90 and sm_90a, which `specific` tells apart.
    """

    kind: Literal["ptx", "cubin"]
    arch: int
    specific: bool
    offset: int
    size: int

    @property
    def sm(self) -> str:
        """As nvcc writes it: sm_90, sm_90a, compute_90."""
        return f"{'sm' if self.kind == 'cubin' else 'compute'}_{self.arch}{'a' if self.specific else ''}"


@dataclass(frozen=True)
class Container:
    """The fat binary of one translation unit; `offset` and `size` as an entry's."""

    offset: int
    size: int
    entries: tuple[Entry, ...]


def _read_container(elf: Elf, offset: int, end: int) -> Container:
    def fail(at: int, what: str) -> FatbinError:
        return FatbinError(f"fat binary at offset {at:#x}: {what}")

    if end - offset < CONTAINER.size:
        raise fail(offset, "the section ends within its header")
    magic, _, header_size, payload_size = CONTAINER.unpack_from(elf.data, offset)
    if magic != CONTAINER_MAGIC:
        raise fail(offset, f"magic number {magic:#x}, not {CONTAINER_MAGIC:#x}")
    if header_size < CONTAINER.size or header_size + payload_size > end - offset:
        raise fail(offset, "its sizes run past the section")
    position = offset + header_size
    stop = position + payload_size
    entries = []
    while position < stop:
        if stop - position < ENTRY.size:
            raise fail(position, "an entry's header is cut off")
        kind, _, entry_header, payload, arch, flags = ENTRY.unpack_from(elf.data, position)
        size = entry_header + payload
        if entry_header < ENTRY.size or size > stop - position:
            raise fail(position, "an entry's sizes run past its container")
        if kind not in _KINDS:
            raise fail(position, f"an entry of unknown kind {kind}")
        specific = bool(flags & _ARCHITECTURE_SPECIFIC)
        entries.append(Entry(_KINDS[kind], arch, specific, position, size))
        position += size
    return Container(offset, header_size + payload_size, tuple(entries))


def _padding(elf: Elf, offset: int, end: int) -> int:
    """How many bytes of alignment lie between two containers: zeros, up to the next multiple of 8."""
    aligned = min(offset + -offset % 8, end)
    return aligned - offset if not any(elf.data[offset:aligned]) else 0


def read_fatbins(elf: Elf) -> tuple[Container, ...]:
    """The containers of a library in the order of the file; none if it has no GPU code.

    Raises FatbinError, which names the offset, for anything that is not a whole fat binary.
    """
    section: Section | None = elf.section(SECTION)
    if section is None:
        return ()
    containers = []
    position = section.offset
    while position < section.end:
        container = _read_container(elf, position, section.end)
        containers.append(container)
        position += container.size
        position += _padding(elf, position, section.end)
    return tuple(containers)
