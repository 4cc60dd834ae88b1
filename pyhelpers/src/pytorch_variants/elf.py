"""A small reader of 64-bit little-endian ELF files: what CUDA's libraries are on x86-64 and Arm.

Layout: System V ABI, chapters 4 (object files) and 5 (program loading). Offsets, addresses and sizes are in
bytes. Nothing is copied: a file is read through a memory map.
"""

import mmap
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pytorch_variants.errors import UserError

Buffer = bytes | bytearray | memoryview | mmap.mmap

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")
RELA = struct.Struct("<QQq")
SYMBOL = struct.Struct("<IBBHQQ")

PT_LOAD = 1
SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_DYNSYM, SHT_RELR = 2, 4, 8, 11, 19
SHF_ALLOC = 2
# "The loader adds the load address to the addend", by machine (e_machine).
R_RELATIVE = {62: 8, 183: 1027}


class ElfError(UserError):
    """A file that is not a sane ELF file of this kind."""


@dataclass(frozen=True)
class Segment:
    """A program header."""

    type: int
    flags: int
    offset: int
    address: int
    physical: int
    file_size: int
    memory_size: int
    align: int

    def pack(self) -> bytes:
        """The header as it stands in a file."""
        return SEGMENT.pack(*vars(self).values())


@dataclass(frozen=True)
class Section:
    """A section header and the name that `name_offset` in the string table gives it."""

    name: str
    name_offset: int
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    align: int
    entry_size: int

    @property
    def end(self) -> int:
        """Where its bytes in the file end."""
        return self.offset + (0 if self.type == SHT_NOBITS else self.size)

    def pack(self) -> bytes:
        """The header as it stands in a file."""
        return SECTION.pack(*tuple(vars(self).values())[1:])


@dataclass(frozen=True)
class Elf:
    """The tables of an ELF file, and its bytes."""

    data: Buffer
    machine: int
    segments_offset: int
    sections_offset: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]

    def section(self, name: str) -> Section | None:
        """The section of that name."""
        return next((section for section in self.sections if section.name == name), None)


def _table(
    data: Buffer, what: str, entry: struct.Struct, offset: int, count: int, size: int
) -> list[tuple[int, ...]]:
    if count and size != entry.size:
        raise ElfError(f"its {what} headers are {size} bytes each, not {entry.size}")
    if offset + count * entry.size > len(data):
        raise ElfError(f"its {what} headers run past the end of the file: it is truncated")
    return [entry.unpack_from(data, offset + index * entry.size) for index in range(count)]


def _name(data: Buffer, strings: Section, offset: int) -> str:
    start = strings.offset + offset
    if offset >= strings.size:
        raise ElfError("a section's name lies outside the string table")
    return bytes(data[start : min(start + 256, strings.end)]).split(b"\0")[0].decode("ascii", "replace")


def parse(data: Buffer) -> Elf:
    """Read the headers of an ELF file.

    Raises ElfError, one line without the file's name, if it is empty, no ELF file, of 32 bits, big-endian
    or truncated, or if a section runs past its end.
    """
    if len(data) == 0:
        raise ElfError("it is empty")
    if bytes(data[:4]) != b"\x7fELF":
        raise ElfError("it is no ELF file")
    if len(data) < HEADER.size:
        raise ElfError("it is truncated within the ELF header")
    (
        ident,
        _,
        machine,
        _,
        _,
        ph_offset,
        sh_offset,
        _,
        _,
        ph_size,
        ph_count,
        sh_size,
        sh_count,
        names,
    ) = HEADER.unpack_from(data)
    if ident[4:6] != b"\x02\x01":
        raise ElfError("it is no 64-bit little-endian ELF file")
    segments = tuple(
        Segment(*fields) for fields in _table(data, "program", SEGMENT, ph_offset, ph_count, ph_size)
    )
    rows = _table(data, "section", SECTION, sh_offset, sh_count, sh_size)
    if rows and names >= len(rows):
        raise ElfError("its section names are missing")
    sections = tuple(Section("", *row) for row in rows)
    for section in sections:
        if section.end > len(data):
            raise ElfError("a section runs past the end of the file: it is truncated")
    for segment in segments:
        if segment.offset + segment.file_size > len(data):
            raise ElfError("a segment runs past the end of the file: it is truncated")
    sections = tuple(replace(s, name=_name(data, sections[names], s.name_offset)) for s in sections)
    return Elf(data, machine, ph_offset, sh_offset, segments, sections)


@contextmanager
def open_elf(path: Path) -> Iterator[Elf]:
    """Read an ELF file through a memory map. Raises ElfError with the file's name."""
    try:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise ElfError("it is empty")
            with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as data:
                yield parse(data)
    except ElfError as error:
        raise ElfError(f"{path}: {error}") from None
    except OSError as error:
        raise ElfError(f"{path}: {error.strerror}") from None
