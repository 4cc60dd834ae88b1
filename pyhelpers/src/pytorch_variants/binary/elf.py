"""What an ELF file says about itself: the parts that GPU code, the loader and the linker need.

64-bit little-endian files only, which is every machine that PyTorch's CUDA builds run on. Layouts are
those of the System V gABI, chapters 4 and 5. The loader goes by the program headers; a file may come without
section headers.
"""

import mmap
import os
import re
import stat
import struct
from bisect import bisect_right
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from pytorch_variants.errors import UserError

HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
SEGMENT = struct.Struct("<IIQQQQQQ")
SECTION = struct.Struct("<IIQQQQIIQQ")
SYMBOL = struct.Struct("<IBBHQQ")
RELA = struct.Struct("<QQq")
_DYNAMIC = struct.Struct("<qQ")

PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_PHDR = 1, 2, 4, 6
PF_X, PF_W = 1, 2
SHT_NULL, SHT_PROGBITS, SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_DYNSYM = 0, 1, 2, 4, 8, 11
SHF_ALLOC, SHF_EXECINSTR = 2, 4
STT_OBJECT, STT_FUNC = 1, 2
DT_NEEDED, DT_STRTAB, DT_RELA, DT_RELASZ, DT_RPATH, DT_RUNPATH = 1, 5, 7, 8, 15, 29

EM_CUDA = 190
MACHINES = {62: "x86_64", 183: "aarch64", EM_CUDA: "CUDA"}
# R_X86_64_RELATIVE and R_AARCH64_RELATIVE: the addend is the address.
RELATIVE = {"x86_64": 8, "aarch64": 1027}

# What the counts of a header cannot say is in the first section's header (gABI, "e_shnum").
_EXTENDED = 0xFFFF
# More than any library has; what a header claims beyond is damage.
_MOST_SECTIONS = 1 << 18
_MOST_SEGMENTS = 1 << 12
_MOST_NAMES = 64 << 20  # characters of all sections' names
_MOST_DYNAMIC = 1 << 16
WINDOW = 1 << 18  # bytes that are searched at a time: what a processor keeps near
MOST_KEPT = 4 << 20  # bytes of a file after which the pages read so far are given back
_ROWS = 1 << 16  # of a table that are looked at together


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

    @staticmethod
    def without_headers(data: mmap.mmap | bytes | memoryview) -> "Elf":
        """A file of another kind, to be searched as the sections of an ELF file are."""
        return Elf(memoryview(data), "", 0, 0, (), (), ())

    @cached_property
    def _loaded(self) -> tuple[Segment, ...]:
        return tuple(segment for segment in self.segments if segment.type == PT_LOAD)

    @cached_property
    def _filled(self) -> tuple[Section, ...]:
        filled = [s for s in self.sections if s.size and s.type not in (SHT_NULL, SHT_NOBITS)]
        return tuple(sorted(filled, key=lambda section: section.offset))

    def section(self, name: str) -> Section | None:
        """The first section of that name, None if there is none."""
        return next((section for section in self.sections if section.name == name), None)

    def offset_of(self, address: int) -> int:
        """The place in the file of an address that the loader fills from it. Raises ElfError."""
        for segment in self._loaded:
            if 0 <= address - segment.address < segment.file_size:
                return address - segment.address + segment.offset
        raise ElfError(f"address {address:#x} is in no loaded segment")

    def contents(self, section: Section) -> memoryview:
        """The bytes of a section; none if the file has its header alone."""
        size = 0 if section.type == SHT_NOBITS else section.size
        return self.data[section.offset : section.offset + size]

    def segment_at(self, offset: int, size: int = 1) -> Segment | None:
        """The segment that the loader maps these bytes of the file with, None if it leaves them."""
        for segment in self._loaded:
            if segment.offset <= offset and offset + size <= segment.offset + segment.file_size:
                return segment
        return None

    def section_at(self, offset: int) -> Section | None:
        """The section that a byte of the file belongs to."""
        index = bisect_right(self._filled, offset, key=lambda section: section.offset) - 1
        section = self._filled[index] if index >= 0 else None
        return section if section and offset < section.offset + section.size else None

    def relocated(self, places: Collection[int]) -> dict[int, int]:
        """What the loader writes at these addresses for RELA entries without a symbol; others are left out.

        Raises ElfError.
        """
        values = dict(self.dynamic)
        relative = RELATIVE.get(self.machine)
        if DT_RELA not in values or DT_RELASZ not in values or not places:
            return {}
        start, size = self.offset_of(values[DT_RELA]), values[DT_RELASZ]
        size -= size % RELA.size
        rows, wanted = _table(self.data, "the relocation table", start, size), frozenset(places)
        found: dict[int, int] = {}
        for first in range(0, size, _ROWS * RELA.size):
            part = rows[first : first + _ROWS * RELA.size]
            # One column is taken out of the rows, and searched whole.
            hits = wanted.intersection(part.cast("Q")[::3].tolist())
            if hits:
                rows_of = RELA.iter_unpack(part)
                found |= {at: addend for at, info, addend in rows_of if at in hits and info == relative}
            self.forget()
        return found

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

    def symbols_with(self, type_: int, texts: Sequence[bytes], before: int, most: int) -> Iterator[Symbol]:
        """The symbols of a table whose names have one of some texts after at most `before` characters.

        Quicker than going through all: the names are searched whole. `most` are given. Raises ElfError.
        """
        table = next((section for section in self.sections if section.type == type_), None)
        if table is None or table.link >= len(self.sections):
            return
        rows, names = self.contents(table), self.contents(self.sections[table.link])
        rows = rows[: len(rows) - len(rows) % SYMBOL.size]
        # A name may be the end of another one.
        ends = {place for text in texts for place in find_all(names, text, 0, len(names))}
        starts = {place - back for place in ends for back in range(before + 1)}
        self.forget()
        step = _ROWS * SYMBOL.size
        for first in range(0, len(rows), step):
            part = rows[first : first + step]
            columns = part.cast("I")[::6].tolist()
            if max(columns) >= len(names):
                raise ElfError(f"a symbol's name is at {max(columns)}, past the end of {len(names)} bytes")
            for index in [n for n, name in enumerate(columns) if name in starts] if starts else ():
                name, info, _, section, address, size = SYMBOL.unpack_from(part, index * SYMBOL.size)
                if not most:
                    return
                most -= 1
                yield Symbol(_string(names, name), info & 15, not info >> 4, section, address, size)
            self.forget()

    def forget(self) -> None:
        """Give back the pages that were read, as the function of this name does."""
        forget(self.data)

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


def forget(data: memoryview) -> None:
    """Give back the pages of a mapped file that were read: they count as this process's memory."""
    # Windows has no such advice. What no file stands behind, which is of a class of its own, would be lost.
    if type(data.obj) is mmap.mmap and hasattr(mmap, "MADV_DONTNEED"):
        data.obj.madvise(mmap.MADV_DONTNEED)


@cache
def _pattern(wanted: bytes) -> re.Pattern[bytes]:
    return re.compile(re.escape(wanted))


def find(data: bytes, wanted: bytes, start: int = 0) -> int:
    """As bytes.find, which takes twice as long for a few bytes."""
    match = _pattern(wanted).search(data, start)
    return match.start() if match else -1


def find_all(data: memoryview, wanted: bytes, start: int, end: int) -> Iterator[int]:
    """Where these bytes begin, between two places."""
    for first in range(start, end, WINDOW):
        size = min(WINDOW, end - first)
        window = bytes(data[first : first + size + len(wanted) - 1])
        place = find(window, wanted)
        while place >= 0:
            yield first + place
            place = find(window, wanted, place + 1)
        if first % MOST_KEPT < WINDOW:
            forget(data)


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
    if count > _MOST_SEGMENTS:
        raise ElfError(f"it says that it has {count} segments; {_MOST_SEGMENTS} is the most that is read")
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
    if count > _MOST_SECTIONS:
        raise ElfError(f"it says that it has {count} sections; {_MOST_SECTIONS} is the most that is read")
    raw = list(SECTION.iter_unpack(_table(data, "the section header table", offset, count * SECTION.size)))
    if count and names >= count:
        raise ElfError(f"section {names} should have the section names, but there are {count}")
    length = 0
    for index, (name, type_, flags, address, start, size, link, _, _, _) in enumerate(raw):
        if type_ not in (SHT_NULL, SHT_NOBITS) and start + size > len(data):
            raise ElfError(f"section {index} ends at {start + size}, past the end of the file at {len(data)}")
        text = _string(data, raw[names][4] + name) if type_ and names else ""
        length += len(text)
        if length > _MOST_NAMES:
            raise ElfError(f"the names of its sections have more than {_MOST_NAMES} characters")
        yield Section(index, text, type_, flags, address, start, size, link)


def _dynamic(data: memoryview, segments: tuple[Segment, ...]) -> Iterator[tuple[int, int]]:
    # Of several the loader takes the last.
    for segment in [segment for segment in segments if segment.type == PT_DYNAMIC][-1:]:
        size = segment.file_size - segment.file_size % _DYNAMIC.size
        rows = _DYNAMIC.iter_unpack(data[segment.offset : segment.offset + size])
        for number, (tag, value) in enumerate(rows):
            if not tag:
                break
            if number == _MOST_DYNAMIC:
                raise ElfError(f"its dynamic section has more than {_MOST_DYNAMIC} entries")
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
    if (section_count or sections_offset) and section_size != SECTION.size:
        raise ElfError(f"section headers of {section_size} bytes; {SECTION.size} are wanted")
    if sections_offset and (not section_count or _EXTENDED in (names, segment_count)):
        first = _table(data, "the section header table", sections_offset, SECTION.size)
        _, _, _, _, _, size, link, info, _, _ = SECTION.unpack(first)
        section_count = section_count or size
        names = link if names == _EXTENDED else names
        segment_count = info if segment_count == _EXTENDED else segment_count
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


def open_regular(path: Path) -> int:
    """A descriptor of a file to read, never one that blocks. Raises OSError, and ElfError if it is none."""
    # Windows has neither of these, and another one that leaves bytes as they are.
    flags = (getattr(os, name, 0) for name in ("O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
    descriptor = os.open(path, sum(flags, os.O_RDONLY))
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    raise ElfError("Is a directory" if stat.S_ISDIR(mode) else "not a regular file")


@contextmanager
def open_elf(path: Path, *, bare: bool = False) -> Iterator[Elf]:
    """Map a file and read its headers; the Elf is good inside the block only.

    With `bare`, it is no ELF file and no headers are read. Raises ElfError, with the path, where the file
    cannot be read or is not a sane ELF file.
    """
    try:
        file = open_regular(path)
        try:
            # An empty file cannot be mapped.
            data = mmap.mmap(file, 0, access=mmap.ACCESS_READ) if os.fstat(file).st_size else b""
        finally:
            os.close(file)
        elf = Elf.without_headers(data) if bare else Elf.parse(data)
    except OSError as error:
        raise ElfError(f"{path}: {error.strerror}") from error
    except ElfError as error:
        raise ElfError(f"{path}: {error}") from error
    try:
        yield elf
    finally:
        # The map itself goes with its last view.
        elf.data.release()
