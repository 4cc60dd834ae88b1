"""CUDA fat binaries: the GPU code inside a library, read in place.

nvcc leaves it in the section .nv_fatbin, as containers of entries: one entry per architecture, either a
cubin (machine code) or PTX (text that the driver compiles). The runtime finds a container through a
wrapper in .nvFatBinSegment. The wrapper and the container's header are declared in CUDA's own
fatbinary_section.h and fatBinary.h; the entry's fields are those that `cuobjdump --list-elf` and
`--list-ptx` agree with over the libraries of PyTorch 2.10 and 2.11 and over nvcc 13.0's output.
"""

import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from pytorch_variants.binary.elf import (
    SHF_EXECINSTR,
    SHT_NOBITS,
    SHT_PROGBITS,
    Elf,
    Section,
)
from pytorch_variants.errors import UserError

SECTION_NAME = ".nv_fatbin"
RELOCATABLE_SECTION_NAME = "__nv_relfatbin"
WRAPPER_SECTION_NAME = ".nvFatBinSegment"

CONTAINER = struct.Struct("<IHHQ")  # magic, version, header size, payload size
_CONTAINER_MAGIC = 0xBA55ED50
# kind, version, header size, padded payload size; 12 bytes on: architecture; 8 bytes on: flags
_ENTRY = struct.Struct("<HHIQ12xI8xQ")
_ENTRY_HEADER = 64  # the least that has been seen; options may follow
WRAPPER = struct.Struct("<IIQQ")  # magic, version, address of the container, address of linked code
_WRAPPER_MAGIC = 0x466243B1
POINTER = 8  # where in a wrapper the container's address is

_KINDS: dict[int, Literal["cubin", "ptx"]] = {1: "ptx", 2: "cubin"}
_COMPRESSED = 0x2000 | 0x8000  # LZ4, Zstandard
_SUFFIXES = {0: "", 0x100000: "a", 0x200000: "f"}
_SUFFIX_BITS = 0x300000

# A linker pads between the containers of two objects to the section's alignment, never by more.
_MOST_PADDING = 4096
# Bytes of a file after which the pages read so far are given back.
_MOST_KEPT = 16 << 20
# Four bytes can be the magic number by chance.
_MOST_ELSEWHERE = 100


class FatbinError(UserError):
    """GPU code that is not as nvcc writes it; the message names the place in the file."""


@dataclass(frozen=True)
class Entry:
    """Code for one architecture. offset is that of its header in the file; sizes are in bytes."""

    kind: Literal["cubin", "ptx"]
    arch: int
    suffix: str
    offset: int
    header_size: int
    payload_size: int
    compressed: bool

    @property
    def sm(self) -> str:
        """The architecture as NVIDIA writes it: sm_90, sm_90a, sm_100f."""
        return f"sm_{self.arch}{self.suffix}"

    @property
    def size(self) -> int:
        """Bytes with the header."""
        return self.header_size + self.payload_size


@dataclass(frozen=True)
class Container:
    """What one wrapper points at: the same kernels for several architectures, or for none."""

    offset: int
    header_size: int
    payload_size: int
    entries: tuple[Entry, ...]

    @property
    def size(self) -> int:
        """Bytes with the header."""
        return self.header_size + self.payload_size


@dataclass(frozen=True)
class Wrapper:
    """How the CUDA runtime finds a container; offset is in the file.

    `value` is what the file has for the container's address before any relocation.
    """

    offset: int
    value: int

    @property
    def pointer_offset(self) -> int:
        """Where in the file the container's address stands."""
        return self.offset + POINTER


def _section(elf: Elf, name: str) -> Section | None:
    section = elf.section(name)
    # A file of debug symbols alone has the section's header without its bytes.
    return section if section and section.type != SHT_NOBITS else None


def _entries(data: memoryview, start: int, end: int) -> Iterator[Entry]:
    offset = start
    while offset < end:
        if end - offset < _ENTRY_HEADER:
            raise FatbinError(f"the fat binary entry at {offset:#x} is cut off")
        kind, _, header_size, payload_size, arch, flags = _ENTRY.unpack_from(data, offset)
        if kind not in _KINDS:
            raise FatbinError(f"the fat binary entry at {offset:#x} has the unknown kind {kind}")
        if header_size < _ENTRY_HEADER or header_size + payload_size > end - offset:
            raise FatbinError(
                f"the fat binary entry at {offset:#x} has {header_size} + {payload_size} bytes, "
                f"its container has {end - offset} left"
            )
        yield Entry(
            kind=_KINDS[kind],
            arch=arch,
            suffix=_SUFFIXES.get(flags & _SUFFIX_BITS, ""),
            offset=offset,
            header_size=header_size,
            payload_size=payload_size,
            compressed=bool(flags & _COMPRESSED),
        )
        offset += header_size + payload_size


def _containers(elf: Elf, section: Section) -> Iterator[Container]:
    data = elf.data
    offset = kept = section.offset
    end = section.offset + section.size
    while offset < end:
        padding = bytes(data[offset : min(offset + _MOST_PADDING, end)])
        offset += len(padding) - len(padding.lstrip(b"\0"))
        if offset == end:
            return
        if end - offset < CONTAINER.size:
            raise FatbinError(f"the fat binary at {offset:#x} is cut off")
        magic, _, header_size, payload_size = CONTAINER.unpack_from(data, offset)
        if magic != _CONTAINER_MAGIC:
            raise FatbinError(f"no fat binary at {offset:#x}: its magic number is {magic:#010x}")
        size = header_size + payload_size
        if header_size < CONTAINER.size or size > end - offset:
            raise FatbinError(
                f"the fat binary at {offset:#x} has {header_size} + {payload_size} bytes, "
                f"its section has {end - offset} left"
            )
        entries = tuple(_entries(data, offset + header_size, offset + size))
        yield Container(offset, header_size, payload_size, entries)
        offset += size
        # A call for each container would take as long as reading them.
        if offset - kept > _MOST_KEPT:
            elf.forget()
            kept = offset


def read_fatbins(elf: Elf, name: str = SECTION_NAME) -> tuple[Container, ...]:
    """The containers of a library, in the file's order; none if it has no GPU code.

    With RELOCATABLE_SECTION_NAME, those that only the device linker reads: no program loads them. Only
    headers are read. Raises FatbinError where the section is not whole and well-formed.
    """
    section = _section(elf, name)
    return tuple(_containers(elf, section)) if section else ()


def find_elsewhere(elf: Elf) -> Iterator[tuple[str, Container]]:
    """The first container of each section where nvcc puts none, with its name: the runtime loads these too.

    Raises FatbinError on a section that is full of what looks like containers and is none.
    """
    magic = _CONTAINER_MAGIC.to_bytes(4, "little")
    for section in elf.sections:
        if section.flags & SHF_EXECINSTR or section.name in (SECTION_NAME, RELOCATABLE_SECTION_NAME):
            continue
        if section.type != SHT_PROGBITS:
            continue
        place, end = section.offset - 1, section.offset + section.size
        for _ in range(_MOST_ELSEWHERE):
            place = elf.find(magic, place + 1, end)
            if place < 0:
                break
            with suppress(FatbinError):
                yield section.name, next(_containers(elf, replace(section, offset=place, size=end - place)))
                break
        else:
            raise FatbinError(f"{section.name} has more than {_MOST_ELSEWHERE} damaged fat binaries")
        elf.forget()


def read_wrappers(elf: Elf) -> tuple[Wrapper, ...]:
    """The wrappers of a library, in the file's order. Raises FatbinError on a malformed one."""
    section = _section(elf, WRAPPER_SECTION_NAME)
    if section is None:
        return ()
    if section.size % WRAPPER.size:
        raise FatbinError(
            f"{WRAPPER_SECTION_NAME} at {section.offset:#x} has {section.size} bytes, "
            f"not a multiple of {WRAPPER.size}"
        )
    wrappers = []
    for offset in range(section.offset, section.offset + section.size, WRAPPER.size):
        magic, _, value, _ = WRAPPER.unpack_from(elf.data, offset)
        if magic != _WRAPPER_MAGIC:
            raise FatbinError(f"no fat binary wrapper at {offset:#x}: its magic number is {magic:#010x}")
        wrappers.append(Wrapper(offset, value))
    return tuple(wrappers)
