"""Where an ELF file's code is, function by function: from what unwinding, linking and debugging leave behind.

Executable are the segments that the loader maps so. In them functions begin where the table for unwinding
(.eh_frame_hdr, which stripping keeps) and the symbol tables say. Layouts are those of the System V gABI,
chapters 4 and 5, and of the Linux Standard Base, "Exception Frames".
"""

import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, compress, pairwise

from pytorch_variants.binary.elf import (
    DT_STRTAB,
    PF_X,
    PT_LOAD,
    SHF_EXECINSTR,
    SHT_DYNSYM,
    SHT_SYMTAB,
    STT_FUNC,
    STT_OBJECT,
    SYMBOL,
    Elf,
    ElfError,
    Segment,
    find_all,
    forget,
)

PT_GNU_EH_FRAME = 0x6474E550
STT_FILE, STT_GNU_IFUNC = 4, 10
DT_HASH, DT_SYMTAB, DT_GNU_HASH = 4, 6, 0x6FFFFEF5

# Version 1; a pointer, a count of 4 bytes, a sorted table of pairs of 4 bytes relative to its beginning.
_TABLE_FORM = (1, 0x03, 0x3B)
_FDE = struct.Struct("<IIii")
_MOST = 1 << 21  # symbols, or rows of a table, that are read
_MOST_NAME = 1 << 12
_ROWS = 1 << 16
# Of code that nothing divides, as much is taken for a function.
_PIECE = 1 << 12


@dataclass(frozen=True)
class _Symbols:
    """A symbol table: its rows, and where the names are."""

    rows: memoryview
    names: memoryview
    exported: bool

    def name(self, index: int) -> str:
        start: int = struct.unpack_from("<I", self.rows, index * SYMBOL.size)[0]
        text = bytes(self.names[start : start + 128])
        if b"\0" not in text:
            text = bytes(self.names[start : start + _MOST_NAME])
        return text[: text.find(b"\0")].decode("utf-8", "backslashreplace") if b"\0" in text else ""

    def of_kind(self, *kinds: int) -> Iterator[Iterator[tuple[int, int]]]:
        """The address and the row of each symbol of some types (STT_*), in several parts."""
        wanted = bytes(kind & 15 in kinds for kind in range(256))
        step = _ROWS * SYMBOL.size
        for first in range(0, len(self.rows), step):
            part = self.rows[first : first + step]
            mask = bytes(part[4 :: SYMBOL.size]).translate(wanted)
            if any(mask):
                rows = range(first // SYMBOL.size, (first + len(part)) // SYMBOL.size)
                addresses = part.cast("Q")[1::3].tolist()
                yield zip(compress(addresses, mask), compress(rows, mask), strict=True)
            forget(self.rows)


def _symbols(elf: Elf, type_: int) -> _Symbols | None:
    table = next((section for section in elf.sections if section.type == type_), None)
    if table is None or table.link >= len(elf.sections):
        return _dynamic_symbols(elf) if type_ == SHT_DYNSYM else None
    rows = elf.contents(table)[: _MOST * SYMBOL.size]
    return _Symbols(
        rows[: len(rows) - len(rows) % SYMBOL.size],
        elf.contents(elf.sections[table.link]),
        type_ == SHT_DYNSYM,
    )


def _dynamic_symbols(elf: Elf) -> _Symbols | None:
    """The table that the loader uses, where no section header says where it is."""
    values = dict(elf.dynamic)
    if not {DT_SYMTAB, DT_STRTAB} <= values.keys():
        return None
    try:
        start, names = elf.offset_of(values[DT_SYMTAB]), elf.offset_of(values[DT_STRTAB])
        if DT_HASH in values:
            (count,) = struct.unpack_from("<4xI", elf.data, elf.offset_of(values[DT_HASH]))
        elif DT_GNU_HASH in values:
            count = _count(elf, elf.offset_of(values[DT_GNU_HASH]))
        else:
            # Linkers write the names right behind the symbols.
            count = max(0, names - start) // SYMBOL.size
    except (ElfError, struct.error):
        return None
    count = min(count, _MOST, (len(elf.data) - start) // SYMBOL.size)
    return _Symbols(elf.data[start : start + count * SYMBOL.size], elf.data[names:], True)


def _count(elf: Elf, offset: int) -> int:
    """How many symbols a table has, by its hash table of GNU's form: it ends with the longest chain."""
    buckets: int
    first: int
    buckets, first, words, _ = struct.unpack_from("<4I", elf.data, offset)
    offset += 16 + words * 8
    table = elf.data[offset : offset + min(buckets, _MOST) * 4]
    last = max(table[: len(table) // 4 * 4].cast("I").tolist(), default=0)
    while first <= last < _MOST:
        (link,) = struct.unpack_from("<I", elf.data, offset + buckets * 4 + (last - first) * 4)
        last += 1
        if link & 1:
            break
    return max(first, last)


def _unwound(elf: Elf) -> tuple[int, memoryview]:
    """The table for unwinding: what its numbers count from, and pairs of them, sorted.

    They are where a function begins, and where its description is.
    """
    nothing = 0, memoryview(b"").cast("i")
    segment = next((segment for segment in elf.segments if segment.type == PT_GNU_EH_FRAME), None)
    if segment is None or segment.file_size < 12:
        return nothing
    table = elf.data[segment.offset : segment.offset + segment.file_size]
    if (table[0], table[2], table[3]) != _TABLE_FORM:
        return nothing
    (count,) = struct.unpack_from("<I", table, 8)
    return segment.address, table[12 : 12 + min(count, (len(table) - 12) // 8) * 8].cast("i")


class _Rows:
    """The rows of a table's functions, sorted by their addresses.

    There may be a million: in an array a number takes a fifth of the memory that it takes in a dict.
    """

    def __init__(self, table: _Symbols) -> None:
        addresses, rows = array("Q"), array("I")
        for part in table.of_kind(STT_FUNC, STT_GNU_IFUNC):
            for address, row in part:
                # What other files have to provide is at 0.
                if address:
                    addresses.append(address)
                    rows.append(row)
        order = sorted(range(len(rows)), key=addresses.__getitem__)
        self.addresses = array("Q", map(addresses.__getitem__, order))
        self._rows = array("I", map(rows.__getitem__, order))

    def at(self, address: int) -> int | None:
        """The last row that has an address."""
        place = bisect_right(self.addresses, address) - 1
        return self._rows[place] if place >= 0 and self.addresses[place] == address else None


class Functions:
    """The functions of a file, by number in the order of their addresses."""

    def __init__(self, elf: Elf) -> None:
        """Read the tables; names are read when they are asked for."""
        self._elf = elf
        self._executable: tuple[Segment, ...] = tuple(
            segment for segment in elf.segments if segment.type == PT_LOAD and segment.flags & PF_X
        )
        self._base, self._unwinding = _unwound(elf)
        self._tables = [
            table for type_ in (SHT_SYMTAB, SHT_DYNSYM) if (table := _symbols(elf, type_)) is not None
        ]
        self._rows = [_Rows(table) for table in self._tables]
        # Where in a table the symbols of each object file begin.
        self._objects: list[list[int]] = []
        for table in self._tables:
            objects = () if table.exported else table.of_kind(STT_FILE)
            self._objects.append([row for part in objects for _, row in part])
        sections = [(s.address, s.address + s.size) for s in elf.sections if s.flags & SHF_EXECINSTR]
        ranges = [(s.address, s.address + s.file_size) for s in self._executable]
        # Tables that lie among the code are no code. Some linkers map constants executable, behind all code:
        # what ends there is followed by more constants.
        self._data = self._tables_in(sections or ranges)
        # All but a few are sorted already, which makes this quicker than a set.
        every = sorted(
            chain(
                *(rows.addresses for rows in self._rows),
                map(self._base.__add__, self._unwinding[::2].tolist()),
                (low for low, high in sections if low < high),
                self._data.keys(),
                self._data.values(),
            )
        )
        cuts = [(bisect_left(every, low), bisect_left(every, high)) for low, high in sorted(ranges)]
        starts = [
            address
            for first, last in cuts
            for before, address in pairwise([-1, *every[first:last]])
            if address != before
        ]
        del every
        if not starts:
            starts = [a for low, high in ranges for a in range(low, min(high, low + _PIECE * _MOST), _PIECE)]
        self.starts = array("Q", starts)
        elf.forget()
        # Where code ends: sections are what the linker had, segments what the loader has.
        self._stops = sorted({high for _, high in (*sections, *ranges)})

    def _tables_in(self, ranges: list[tuple[int, int]]) -> dict[int, int]:
        """Where the data begin and end that symbols name in some ranges of addresses."""
        found = {}
        least, most = min((low for low, _ in ranges), default=0), max((high for _, high in ranges), default=0)
        for table in self._tables:
            for part in table.of_kind(STT_OBJECT):
                for address, row in part:
                    if least <= address < most and any(low <= address < high for low, high in ranges):
                        (size,) = struct.unpack_from("<Q", table.rows, row * SYMBOL.size + 16)
                        named = any(rows.at(address) is not None for rows in self._rows)
                        if 0 < size < _PIECE << 8 and not named:
                            found[address] = address + size
        return found

    def is_data(self, number: int) -> bool:
        """Whether a symbol says that this is no code."""
        return self.starts[number] in self._data

    def _row(self, number: int) -> tuple[_Symbols | None, int, int]:
        """The table that names a function, its number, and the row: an exported name before a local one."""
        address = self.starts[number]
        for index in reversed(range(len(self._tables))):
            if (row := self._rows[index].at(address)) is not None:
                return self._tables[index], index, row
        return None, -1, 0

    @property
    def chosen_by_loader(self) -> bool:
        """Whether the loader asks the file itself which of several functions a name means."""
        return any(True for table in self._tables for part in table.of_kind(STT_GNU_IFUNC) for _ in part)

    def __len__(self) -> int:
        """How many there are."""
        return len(self.starts)

    @cached_property
    def size(self) -> int:
        """The bytes of all executable segments."""
        return sum(segment.file_size for segment in self._executable)

    @property
    def executable(self) -> tuple[Segment, ...]:
        """The segments that the loader maps executable."""
        return self._executable

    def number_at(self, address: int) -> int:
        """The number of the function that has this address; -1 for what is before all of them."""
        return bisect_right(self.starts, address) - 1

    def begins_at(self, address: int) -> bool:
        """Whether a function begins there, which is no data."""
        number = self.number_at(address)
        return number >= 0 and self.starts[number] == address and not self.is_data(number)

    def is_exported(self, number: int) -> bool:
        """Whether other files can call it by its name."""
        table, _, _ = self._row(number)
        return table is not None and table.exported

    def object_of(self, number: int) -> str:
        """The source file that a local function was compiled from, "" where that is not known."""
        table, index, row = self._row(number)
        if table is None or table.rows[row * SYMBOL.size + 4] >> 4:
            return ""
        place = bisect_right(self._objects[index], row) - 1
        return table.name(self._objects[index][place]) if place >= 0 else ""

    def name_of(self, number: int) -> str:
        """Its name as the linker knows it, mangled; "" where that is not known."""
        table, _, row = self._row(number)
        return table.name(row) if table else ""

    def end_of(self, number: int) -> int:
        """Where it ends: at the next one, at its section's end; the last one where a table says."""
        start = self.starts[number]
        place = bisect_right(self._stops, start)
        last = number + 1 >= len(self.starts)
        end = start + self._size_of(number) if last else self.starts[number + 1]
        return min(end, self._stops[place]) if place < len(self._stops) else end

    def _size_of(self, number: int) -> int:
        """How long a function is by its symbol, or by its description."""
        start = self.starts[number]
        table, _, row = self._row(number)
        if table is not None:
            (size,) = struct.unpack_from("<Q", table.rows, row * SYMBOL.size + 16)
            if 0 < size < _PIECE << 8:
                return int(size)
        try:
            place = self._unwinding[::2].tolist().index(start - self._base)
            address = self._base + self._unwinding[2 * place + 1]
            _, _, distance, size = _FDE.unpack_from(self._elf.data, self._elf.offset_of(address))
        except (ValueError, ElfError, struct.error):
            return _PIECE
        return int(size) if address + 8 + distance == start and size > 0 else _PIECE

    def code_of(self, number: int, most: int) -> bytes:
        """Its machine code, as much as `most` bytes of it."""
        start = self.starts[number]
        offset = self._elf.offset_of(start)
        return bytes(self._elf.data[offset : offset + min(most, self.end_of(number) - start)])

    def has_name_with(self, text: bytes) -> bool:
        """Whether a name of the symbol tables has these characters."""
        return any(next(find_all(t.names, text, 0, len(t.names)), None) is not None for t in self._tables)

    def imports(self, most: int) -> Iterator[str]:
        """The names of what other files have to provide, as many as `most`."""
        for table in self._tables:
            if table.exported:
                sections = table.rows.cast("H")[3 :: SYMBOL.size // 2].tolist()
                rows = [row for row, section in enumerate(sections) if not section]
                yield from map(table.name, rows[:most])
