"""CUDA fat binaries: the GPU code inside a library, read in place.

nvcc leaves it in the section .nv_fatbin, as containers of entries: one entry per architecture, either a
cubin (machine code), PTX (text that the driver compiles) or LTO-IR (what the device linker compiles). The
runtime finds a container through a wrapper in .nvFatBinSegment. The wrapper and the container's header are
declared in CUDA's own fatbinary_section.h and fatBinary.h; the entry's fields are those that `cuobjdump
--list-elf` and `--list-ptx` agree with over the libraries of PyTorch 2.10 and 2.11 and over nvcc 13.0's
output.

`read_fatbins` reads that section. `scan` goes by the bytes alone, wherever they lie in the file.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from pytorch_variants.binary.cubin import (
    ELF_MAGIC,
    MOST_UNPACKED,
    PTX_HEAD,
    PTX_MARK,
    PayloadError,
    Target,
    check_size,
    cubin_size,
    cubin_target,
    is_cubin,
    is_ptx,
    loose_ptx,
    lz4_head,
    read_cubin,
    read_ptx,
    unpack_lz4,
    unpack_zstd,
)
from pytorch_variants.binary.elf import (
    MOST_KEPT,
    PF_W,
    PT_LOAD,
    SHT_NOBITS,
    WINDOW,
    Elf,
    ElfError,
    Section,
    find,
    find_all,
)
from pytorch_variants.errors import UserError

SECTION_NAME = ".nv_fatbin"
RELOCATABLE_SECTION_NAME = "__nv_relfatbin"
WRAPPER_SECTION_NAME = ".nvFatBinSegment"

CONTAINER = struct.Struct("<IHHQ")  # magic, version, header size, payload size
_CONTAINER_MAGIC = 0xBA55ED50
# kind, version, header size, padded payload size, compressed size; 8 bytes on: architecture; 8 bytes on:
# flags; 8 bytes on: size once it is unpacked
_ENTRY = struct.Struct("<HHIQI8xI8xQ8xQ")
_ENTRY_HEADER = 64  # the least that has been seen; options may follow
_ENTRY_VERSION = 0x101
WRAPPER = struct.Struct("<IIQQ")  # magic, version, address of the container, address of linked code
_WRAPPER_MAGIC = 0x466243B1
_MOST_WRAPPER_VERSION = 3  # 1, or 2 for what a device linker has joined
POINTER = 8  # where in a wrapper the container's address is

Kind = Literal["cubin", "ptx", "lto"]
_KINDS: dict[int, Kind] = {1: "ptx", 2: "cubin", 8: "lto"}
Compression = Literal["", "lz4", "zstd"]
_COMPRESSIONS: dict[int, Compression] = {0: "", 0x2000: "lz4", 0x8000: "zstd"}
_COMPRESSED = 0x2000 | 0x8000
_SUFFIXES = {0: "", 0x100000: "a", 0x200000: "f"}
_SUFFIX_BITS = 0x300000

# A linker pads between the containers of two objects to the section's alignment, never by more.
_MOST_PADDING = 4096

_MAGIC = _CONTAINER_MAGIC.to_bytes(4, "little")
_OVERLAP = 16
# Damage beyond this says nothing new, and entries beyond these in damaged places take too long.
_MOST_DAMAGED = 100
_MOST_WASTED = 1 << 20
_MOST_WRAPPERS = 1 << 17
_MOST_CONTAINERS = 1 << 17
_MOST_LOOSE = 1 << 14


class FatbinError(UserError):
    """GPU code that is not as nvcc writes it; the message names the place in the file."""


@dataclass(frozen=True)
class Entry:
    """Code for one architecture, as its header says. offset is that header's in the file; sizes are in bytes.

    `stored_size` are the bytes of the payload without its padding, `unpacked_size` those that it has once
    unpacked: the same where it is not compressed.
    """

    kind: Kind
    arch: int
    suffix: str
    offset: int
    header_size: int
    payload_size: int
    compression: Compression
    stored_size: int
    unpacked_size: int

    @property
    def compressed(self) -> bool:
        """Whether the payload is compressed."""
        return bool(self.compression)

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


@dataclass(frozen=True)
class Loose:
    """GPU code in no container: a cubin or PTX text by itself, from `offset` on in the file."""

    kind: Literal["cubin", "ptx"]
    offset: int
    size: int


@dataclass(frozen=True)
class Scan:
    """All GPU code in a file. `damaged` has a line for each place that is no whole fat binary."""

    containers: tuple[Container, ...]
    loose: tuple[Loose, ...]
    damaged: tuple[str, ...]


def _section(elf: Elf, name: str) -> Section | None:
    section = elf.section(name)
    # A file of debug symbols alone has the section's header without its bytes.
    return section if section and section.type != SHT_NOBITS else None


def _entries(data: memoryview, start: int, end: int) -> Iterator[Entry]:
    offset = start
    while offset < end:
        if end - offset < _ENTRY_HEADER:
            raise FatbinError(f"the fat binary entry at {offset:#x} is cut off")
        kind, _, header_size, payload_size, packed, arch, flags, unpacked = _ENTRY.unpack_from(data, offset)
        if kind not in _KINDS:
            raise FatbinError(f"the fat binary entry at {offset:#x} has the unknown kind {kind}")
        if header_size < _ENTRY_HEADER or header_size + payload_size > end - offset:
            raise FatbinError(
                f"the fat binary entry at {offset:#x} has {header_size} + {payload_size} bytes, "
                f"its container has {end - offset} left"
            )
        if (compression := _COMPRESSIONS.get(flags & _COMPRESSED)) is None:
            raise FatbinError(f"the fat binary entry at {offset:#x} is compressed in two ways")
        if compression and packed > payload_size:
            raise FatbinError(
                f"the fat binary entry at {offset:#x} has {packed} compressed bytes in {payload_size}"
            )
        yield Entry(
            kind=_KINDS[kind],
            arch=arch,
            suffix=_SUFFIXES.get(flags & _SUFFIX_BITS, ""),
            offset=offset,
            header_size=header_size,
            payload_size=payload_size,
            compression=compression,
            stored_size=packed if compression else payload_size,
            unpacked_size=unpacked if compression else payload_size,
        )
        offset += header_size + payload_size


def _container(data: memoryview, offset: int, end: int, what: str) -> Container:
    """The container at a place in the file; `what` ends there."""
    if end - offset < CONTAINER.size:
        raise FatbinError(f"the fat binary at {offset:#x} is cut off")
    magic, _, header_size, payload_size = CONTAINER.unpack_from(data, offset)
    if magic != _CONTAINER_MAGIC:
        raise FatbinError(f"no fat binary at {offset:#x}: its magic number is {magic:#010x}")
    size = header_size + payload_size
    if header_size < CONTAINER.size or size > end - offset:
        raise FatbinError(
            f"the fat binary at {offset:#x} has {header_size} + {payload_size} bytes, "
            f"{what} has {end - offset} left"
        )
    entries = tuple(_entries(data, offset + header_size, offset + size))
    return Container(offset, header_size, payload_size, entries)


def _containers(elf: Elf, section: Section) -> Iterator[Container]:
    data = elf.data
    offset = kept = section.offset
    end = section.offset + section.size
    while offset < end:
        padding = bytes(data[offset : min(offset + _MOST_PADDING, end)])
        offset += len(padding) - len(padding.lstrip(b"\0"))
        if offset == end:
            return
        container = _container(data, offset, end, "its section")
        yield container
        offset += container.size
        # A call for each container would take as long as reading them.
        if offset - kept > MOST_KEPT:
            elf.forget()
            kept = offset


def read_fatbins(elf: Elf, name: str = SECTION_NAME) -> tuple[Container, ...]:
    """The containers of a library's section, in the file's order; none if there is no such section.

    With RELOCATABLE_SECTION_NAME, those that only the device linker reads: no program loads them. Only
    headers are read. Raises FatbinError where the section is not whole and well-formed.
    """
    section = _section(elf, name)
    return tuple(_containers(elf, section)) if section else ()


def _is_fat_binary(data: memoryview, offset: int) -> bool:
    """Whether what has the magic number is a fat binary, whole or damaged, and no number by chance."""
    if len(data) - offset < CONTAINER.size:
        return False
    _, version, header_size, payload_size = CONTAINER.unpack_from(data, offset)
    if version != 1 or header_size != CONTAINER.size:
        return False
    entry = offset + header_size
    if not payload_size or len(data) - entry < 4:
        return True
    return int.from_bytes(data[entry + 2 : entry + 4], "little") == _ENTRY_VERSION


def is_bare(name: str, head: bytes) -> bool:
    """Whether a file, by its name and its begin, is GPU code and no ELF file: a fat binary or PTX text."""
    return head.startswith(_MAGIC) or name.endswith(".ptx") or (PTX_MARK in head and is_ptx(head))


class _Scanner:
    """Goes through a file once, from its begin to its end."""

    def __init__(self, elf: Elf) -> None:
        self.elf = elf
        self.data = elf.data
        self.containers: list[Container] = []
        self.loose: list[Loose] = []
        self.damaged: list[str] = []
        self.wasted = 0

    def damage(self, message: str) -> None:
        if len(self.damaged) == _MOST_DAMAGED:
            raise FatbinError(f"it has more than {_MOST_DAMAGED} damaged fat binaries: {self.damaged[0]}")
        self.damaged.append(message)

    def container(self, offset: int) -> int:
        """Take the container at a place, if there is one: where to go on."""
        if not _is_fat_binary(self.data, offset):
            return offset + 1
        try:
            container = _container(self.data, offset, len(self.data), "the file")
        except FatbinError as error:
            # A damaged container has entries without number, and so may have one within it.
            size = CONTAINER.unpack_from(self.data, offset)[3]
            self.wasted += size // _ENTRY_HEADER if size < len(self.data) else 1
            if self.wasted > _MOST_WASTED:
                raise
            self.damage(str(error))
            return offset + 1
        if len(self.containers) == _MOST_CONTAINERS:
            raise FatbinError(f"it has more than {_MOST_CONTAINERS} fat binaries")
        self.containers.append(container)
        return offset + container.size

    def add(self, loose: Loose) -> None:
        if len(self.loose) == _MOST_LOOSE:
            raise FatbinError(f"it has more than {_MOST_LOOSE} cubins and PTX texts in no fat binary")
        self.loose.append(loose)

    def cubin(self, offset: int) -> int:
        size = cubin_size(self.data[offset:])
        if size:
            self.add(Loose("cubin", offset, size))
        return offset + max(size, 1)

    def ptx(self, offset: int) -> int:
        if loose_ptx(self.data, offset):
            self.add(Loose("ptx", offset, len(PTX_MARK)))
        return offset + 1

    def window(self, start: int) -> int:
        """Search a window: where the next one begins."""
        window = bytes(self.data[start : start + WINDOW + _OVERLAP])
        takers = {_MAGIC: self.container, ELF_MAGIC: self.cubin, PTX_MARK: self.ptx}
        found = {mark: find(window, mark) for mark in takers}
        while hits := [(place, mark) for mark, place in found.items() if 0 <= place < WINDOW]:
            place, mark = min(hits)
            resume = takers[mark](start + place) - start
            if resume >= WINDOW:
                return start + resume
            for other, old in found.items():
                if 0 <= old < resume:
                    found[other] = find(window, other, resume)
        return start + WINDOW

    def run(self) -> Scan:
        place = kept = 0
        while place < len(self.data):
            # Containers mostly follow one another, each at a multiple of 8 bytes.
            aligned = place + -place % 8
            behind = self.containers and self.containers[-1].offset + self.containers[-1].size == place
            if behind and self.data[aligned : aligned + 4] == _MAGIC:
                after = self.container(aligned)
                place = after if after > aligned + 1 else self.window(place)
            else:
                place = self.window(place)
            if place - kept > MOST_KEPT:
                self.elf.forget()
                kept = place
        return Scan(tuple(self.containers), tuple(self.loose), tuple(self.damaged))


def scan(elf: Elf) -> Scan:
    """All GPU code in a file, wherever it lies: what is mapped, what is not, and what no header names.

    Raises FatbinError on a file that is full of what looks like fat binaries and is none.
    """
    return _Scanner(elf).run()


def _head(packed: memoryview, entry: Entry) -> bytes:
    """The first bytes of a payload, unpacked."""
    check_size(entry.compression, packed, entry.unpacked_size)
    if entry.compression == "lz4":
        return lz4_head(bytes(packed[: 2 * PTX_HEAD]), PTX_HEAD)
    if entry.compression == "zstd":
        import zstandard

        try:
            with zstandard.ZstdDecompressor().stream_reader(packed) as reader:
                return reader.read(PTX_HEAD)
        except zstandard.ZstdError as error:
            raise PayloadError("damaged: it does not unpack") from error
    return bytes(packed[:PTX_HEAD])


def read_payload(elf: Elf, entry: Entry) -> tuple[Target, bool]:
    """What an entry's code says that it is for, and whether all of it was looked at.

    Of code with more than MOST_UNPACKED bytes only the begin is. Raises PayloadError where the payload is not
    of the entry's kind, is not whole or has no code in it. LTO-IR says nothing.
    """
    start = entry.offset + entry.header_size
    packed = elf.data[start : start + entry.stored_size]
    if entry.unpacked_size > MOST_UNPACKED:
        head = _head(packed, entry)
        if entry.kind == "ptx":
            return read_ptx(head), False
        if not is_cubin(head):
            raise PayloadError("no cubin")
        return cubin_target(head), False
    if entry.compression == "lz4":
        data = unpack_lz4(packed, entry.unpacked_size)
    elif entry.compression == "zstd":
        data = unpack_zstd(packed, entry.unpacked_size)
    else:
        data = bytes(packed)
    if entry.kind == "ptx":
        return read_ptx(data), True
    return read_cubin(data), True


def read_wrappers(elf: Elf) -> tuple[Wrapper, ...]:
    """The wrappers of a library's section, in the file's order. Raises FatbinError on a malformed one."""
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


def find_wrappers(elf: Elf) -> Iterator[tuple[int, int]]:
    """The wrappers in what the loader makes writable: each one's place in the file, and its container's.

    The container's place is -1 where the address leads to no byte of the file. Goes by the bytes, and takes
    the address that the loader writes. Raises UserError.
    """
    found: dict[int, tuple[int, int]] = {}
    for segment in elf.segments:
        if segment.type != PT_LOAD or not segment.flags & PF_W:
            continue
        end = segment.offset + segment.file_size - WRAPPER.size
        for place in find_all(elf.data, _WRAPPER_MAGIC.to_bytes(4, "little"), segment.offset, end + 1):
            _, version, value, _ = WRAPPER.unpack_from(elf.data, place)
            if 1 <= version <= _MOST_WRAPPER_VERSION:
                found[segment.address + place - segment.offset + POINTER] = place, value
            if len(found) > _MOST_WRAPPERS:
                raise FatbinError(f"it has more than {_MOST_WRAPPERS} fat binary wrappers")
    pointers = elf.relocated(found)
    for address, (place, value) in found.items():
        try:
            target = elf.offset_of(pointers.get(address, value))
        except ElfError:
            target = -1
        yield place, target
