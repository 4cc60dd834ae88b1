"""What an ELF file says about itself: the parts that GPU code, the loader and the linker need.

64-bit little-endian files only, which is every machine that PyTorch's CUDA builds run on. Layouts are
those of the System V gABI, chapters 4 and 5.
"""

import mmap
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pytorch_variants.errors import UserError

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELA = struct.Struct("<QQq")
_DYNAMIC = struct.Struct("<qQ")

PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_PHDR = 1, 2, 4, 6
SHT_PROGBITS, SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_DYNSYM = 1, 2, 4, 8, 11
SHF_ALLOC, SHF_EXECINSTR = 2, 4
STT_OBJECT, STT_FUNC = 1, 2
DT_NEEDED, DT_STRTAB, DT_RPATH, DT_RUNPATH = 1, 5, 15, 29

MACHINES = {62: "x86_64", 183: "aarch64"}


class ElfError(UserError):
    """A file that is not a sane 64-bit little-endian ELF file."""


@dataclass(frozen=True)
class Section:
    """One entry of the section header table; offset and size are bytes of the file."""

    index: int
    name: str
    type: int
    flags: int
    address: int
    offset: int
    size: int
    link: int


@dataclass(frozen=True)
class Segment:
    """One entry of the program header table; offset and file_size are bytes of the file."""

    type: int
    flags: int
    offset: int
    address: int
    physical_address: int
    file_size: int
    memory_size: int
    align: int


@dataclass(frozen=True)
class Symbol:
    """A named piece of the program: `kind` is STT_*; `local` if no other file can see it."""

    name: str
    kind: int
    local: bool
    section: int
    address: int
    size: int


@dataclass(frozen=True)
class Elf:
    """A parsed file. `data` is the file itself: it is read again on demand, never copied."""

    data: memoryview
    machine: str
    segments_offset: int
    sections_offset: int
    segments: tuple[Segment, ...]
    sections: tuple[Section, ...]
    dynamic: tuple[tuple[int, int], ...]

    @staticmethod
    def parse(data: mmap.mmap | bytes | memoryview) -> "Elf":
        """Read the headers. Raises ElfError, one line, on anything that is not a sane file."""
        return _parse(memoryview(data))

    def section(self, name: str) -> Section | None:
        """The first section of that name, None if there is none."""
        return next((section for section in self.sections if section.name == name), None)

    def offset_of(self, address: int) -> int:
        """The place in the file of an address that the loader fills from it. Raises ElfError."""
        for segment in self.segments:
            if segment.type == PT_LOAD and 0 <= address - segment.address < segment.file_size:
                return address - segment.address + segment.offset
        raise ElfError(f"address {address:#x} is in no loaded segment")

    def contents(self, section: Section) -> memoryview:
        """The bytes of a section; none if the file has its header alone."""
        size = 0 if section.type == SHT_NOBITS else section.size
        return self.data[section.offset : section.offset + size]

    def find(self, wanted: bytes, start: int, end: int) -> int:
        """Where in the file these bytes are first found between two places; -1 if they are not."""
        whole = self.data.obj
        if isinstance(whole, mmap.mmap | bytes) and len(whole) == len(self.data):
            return whole.find(wanted, start, end)
        found = bytes(self.data[start:end]).find(wanted)
        return found if found < 0 else start + found

    def symbols(self, type_: int, most: int | None = None) -> Iterator[Symbol]:
        """The symbols of the table of this type, SHT_SYMTAB or SHT_DYNSYM, in its order.

        With `most`, about so many of them, spread evenly over the table. Raises ElfError.
        """
        table = next((section for section in self.sections if section.type == type_), None)
        if table is None or table.link >= len(self.sections):
            return
        rows, names = self.contents(table), self.contents(self.sections[table.link])
        count = len(rows) // SYMBOL.size
        step = max(1, count // most) if most else 1
        for index in range(0, count, step):
            name, info, _, section, address, size = SYMBOL.unpack_from(rows, index * SYMBOL.size)
            yield Symbol(_string(names, name), info & 15, not info >> 4, section, address, size)

    def forget(self) -> None:
        """Give back the pages read so far: those of a mapped file count as this process's memory."""
        # Windows has no such advice.
        if isinstance(self.data.obj, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            self.data.obj.madvise(mmap.MADV_DONTNEED)

    def _strings(self, tag: int) -> tuple[str, ...]:
        wanted = [value for found, value in self.dynamic if found == tag]
        if not wanted:
            return ()
        table = next((value for found, value in self.dynamic if found == DT_STRTAB), 0)
        return tuple(_string(self.data, self.offset_of(table + value)) for value in wanted)

    @property
    def needed(self) -> tuple[str, ...]:
        """The libraries that the loader must find first, in order."""
        return self._strings(DT_NEEDED)

    @property
    def runpath(self) -> tuple[str, ...]:
        """The directories of DT_RUNPATH, or of DT_RPATH where that is missing, as glibc reads them."""
        paths = self._strings(DT_RUNPATH) or self._strings(DT_RPATH)
        return tuple(part for path in paths for part in path.split(":") if part)


def _string(data: memoryview, offset: int) -> str:
    text = b""
    while offset < len(data):
        chunk = bytes(data[offset : offset + 64])
        text += chunk
        if b"\0" in chunk:
            return text[: text.index(b"\0")].decode("utf-8", "backslashreplace")
        if len(text) > 65536:
            break
        offset += len(chunk)
    raise ElfError(f"the string that ends at {offset:#x} has no end")


def _table(data: memoryview, what: str, offset: int, size: int) -> memoryview:
    if offset + size > len(data):
        raise ElfError(f"{what} ends at {offset + size}, past the end of the file at {len(data)}")
    return data[offset : offset + size]


def _segments(data: memoryview, offset: int, count: int) -> Iterator[Segment]:
    table = _table(data, "the program header table", offset, count * SEGMENT.size)
    for type_, flags, start, address, physical, file_size, memory_size, align in SEGMENT.iter_unpack(table):
        if start + file_size > len(data):
            raise ElfError(f"a segment ends at {start + file_size}, past the end of the file at {len(data)}")
        if max(address, physical) + memory_size >> 64:
            raise ElfError(f"a segment at {address:#x} has {memory_size} bytes, past the end of memory")
        if type_ == PT_LOAD and memory_size < file_size:
            raise ElfError(f"a segment of {file_size} bytes has room for {memory_size} in memory")
        yield Segment(type_, flags, start, address, physical, file_size, memory_size, align)


def _sections(data: memoryview, offset: int, count: int, names: int) -> Iterator[Section]:
    table = _table(data, "the section header table", offset, count * SECTION.size)
    raw = list(SECTION.iter_unpack(table))
    if count and names >= count:
        raise ElfError(f"section {names} should have the section names, but there are {count}")
    for index, (name, type_, flags, address, start, size, link, _, _, _) in enumerate(raw):
        if type_ != SHT_NOBITS and start + size > len(data):
            raise ElfError(f"section {index} ends at {start + size}, past the end of the file at {len(data)}")
        text = _string(data, raw[names][4] + name) if type_ else ""
        yield Section(index, text, type_, flags, address, start, size, link)


def _dynamic(data: memoryview, segments: tuple[Segment, ...]) -> Iterator[tuple[int, int]]:
    for segment in segments:
        if segment.type == PT_DYNAMIC:
            size = segment.file_size - segment.file_size % _DYNAMIC.size
            for tag, value in _DYNAMIC.iter_unpack(data[segment.offset : segment.offset + size]):
                if not tag:
                    break
                yield tag, value


def _parse(data: memoryview) -> Elf:
    if len(data) < HEADER.size or bytes(data[:4]) != b"\x7fELF":
        raise ElfError("not an ELF file")
    if data[4] != 2:
        raise ElfError("a 32-bit ELF file; 64-bit is wanted")
    if data[5] != 1:
        raise ElfError("a big-endian ELF file; little-endian is wanted")
    header = HEADER.unpack_from(data)
    machine, segments_offset, sections_offset = header[2], header[5], header[6]
    segment_size, segment_count, section_size, section_count, names = header[9:14]
    if segment_count and segment_size != SEGMENT.size:
        raise ElfError(f"program headers of {segment_size} bytes; {SEGMENT.size} are wanted")
    if section_count and section_size != SECTION.size:
        raise ElfError(f"section headers of {section_size} bytes; {SECTION.size} are wanted")
    segments = tuple(_segments(data, segments_offset, segment_count))
    return Elf(
        data=data,
        machine=MACHINES.get(machine, f"machine {machine}"),
        segments_offset=segments_offset,
        sections_offset=sections_offset,
        segments=segments,
        sections=tuple(_sections(data, sections_offset, section_count, names)),
        dynamic=tuple(_dynamic(data, segments)),
    )


@contextmanager
def open_elf(path: Path) -> Iterator[Elf]:
    """Map a file and read its headers; the Elf is good inside the block only.

    Raises ElfError, with the path, where the file cannot be read or is not a sane ELF file.
    """
    try:
        with path.open("rb") as file:
            # An empty file cannot be mapped.
            size = os.fstat(file.fileno()).st_size
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        elf = Elf.parse(data)
    except OSError as error:
        raise ElfError(f"{path}: {error.strerror}") from error
    except ElfError as error:
        raise ElfError(f"{path}: {error}") from error
    try:
        yield elf
    finally:
        # The map itself goes with its last view.
        elf.data.release()
