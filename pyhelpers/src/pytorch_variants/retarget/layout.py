"""Where every byte of a retargeted library goes, worked out from its headers; nothing is written here.

The kept GPU code moves to the front of .nv_fatbin and the rest of the file moves up behind it. Every
other byte keeps its virtual address: the segment that holds .nv_fatbin is split in two around the hole,
so that code, unwind tables and symbols stay true and only file offsets change. What does change:
offsets in the program and section headers, the size of .nv_fatbin, the sizes in its containers' headers,
and the containers' addresses in the wrappers (with their relocations) and in .symtab, with their sizes there.
The split takes one program header more; where there is no room for it, their table goes into the hole too.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytorch_variants.binary import elf as e
from pytorch_variants.binary.elf import (
    Elf,
    Section,
    Segment,
)
from pytorch_variants.binary.fatbin import (
    SECTION_NAME,
    Container,
    Entry,
    read_fatbins,
    read_wrappers,
)
from pytorch_variants.errors import UserError
from pytorch_variants.hardware.compatibility import select
from pytorch_variants.retarget.cut import Cut

_ALIGN = 8  # of a container, as nvcc's assembly asks for

Copy = tuple[int, int, int]  # from, to, length
Patch = tuple[int, bytes]  # place in the new file


@dataclass(frozen=True)
class _Move:
    """A container's new place in the file and what is left of it; size is with the header."""

    container: Container
    offset: int
    entries: tuple[Entry, ...]
    size: int


@dataclass(frozen=True)
class _Layout:
    """The new file: bytes from `resume` on move up by `delta`, GPU code ends at `code_end`.

    `table` is the place of the program headers.
    """

    segments: tuple[Segment, ...]
    table: int
    code_end: int
    resume: int
    delta: int

    def moved(self, offset: int) -> int:
        return offset - self.delta if offset >= self.resume else offset


@dataclass(frozen=True)
class Rewriting:
    """How to make the new file: `size` bytes of zeros, then the copies, then the patches over them.

    Copies and patches are each in the new file's order, and no two overlap. Names are sm_90a for a cubin,
    compute_90 for PTX. Sizes are bytes, gpu_code_* those of .nv_fatbin.
    """

    size: int
    copies: tuple[Copy, ...]
    patches: tuple[Patch, ...]
    gpu_code_before: int
    gpu_code_after: int
    kept: tuple[str, ...]
    dropped: tuple[str, ...]


def _u64(value: int) -> bytes:
    return value.to_bytes(8, "little")


# These tables have hundreds of thousands of rows, few of them of interest: one column is taken out of the
# rows and searched whole.
def _rows(table: Section, row: int) -> range:
    return range(table.offset, table.offset + table.size - table.size % row, row)


def _relocations_into(elf: Elf, table: Section, section: Section) -> Iterator[tuple[int, int, int, int]]:
    """The places of a table's rows whose addend is an address in a section, and the rows."""
    rows = _rows(table, e.RELA.size)
    addends = elf.data[rows.start : rows.stop].cast("Q")[2::3].tolist()
    start, stop = section.address, section.address + section.size
    for offset in [rows[i] for i, addend in enumerate(addends) if start <= addend < stop]:
        yield offset, *e.RELA.unpack_from(elf.data, offset)


def _symbols_of(elf: Elf, table: Section, section: Section) -> Iterator[tuple[int, int, int]]:
    """The places of a symbol table's rows that belong to a section, and the symbols' values and sizes."""
    rows = _rows(table, e.SYMBOL.size)
    index_bytes = elf.data[rows.start : rows.stop][6 :: e.SYMBOL.size].tobytes()
    for match in re.finditer(re.escape(bytes([section.index & 255])), index_bytes):
        offset = rows[match.start()]
        _, _, _, index, value, size = e.SYMBOL.unpack_from(elf.data, offset)
        if index == section.index:
            yield offset, value, size


def code_names(containers: Sequence[tuple[Entry, ...]]) -> tuple[str, ...]:
    """What code there is, in order: sm_90a for a cubin, compute_90 for PTX."""
    names = {
        (entry.arch, entry.sm if entry.kind == "cubin" else entry.sm.replace("sm", "compute"))
        for entries in containers
        for entry in entries
    }
    return tuple(name for _, name in sorted(names))


def cut_of(containers: Sequence[Container], keep: frozenset[int], keep_ptx: bool) -> Cut:
    """Which containers are left without machine code, and what they have now."""
    emptied: dict[int, tuple[str, ...]] = {}
    ptx: dict[int, tuple[str, ...]] = {}
    for number, container in enumerate(containers):
        kept = select(container.entries, keep, keep_ptx)
        if container.entries and not any(entry.kind == "cubin" for entry in kept):
            had = tuple(dict.fromkeys(entry.sm for entry in container.entries if entry.kind == "cubin"))
            (ptx if kept else emptied)[number] = had
    return Cut(len(containers), emptied, ptx)


def _compact(
    containers: Sequence[Container], start: int, keep: frozenset[int], keep_ptx: bool
) -> tuple[_Move, ...]:
    # A container that loses every entry stays, empty: its wrapper is registered by code, and nvcc itself
    # links empty containers (the device link step of a library with PTX alone leaves one).
    moves = []
    for container in containers:
        start += -start % _ALIGN
        entries = select(container.entries, keep, keep_ptx)
        size = container.header_size + sum(entry.size for entry in entries)
        moves.append(_Move(container, start, entries, size))
        start += size
    return tuple(moves)


def _holder(elf: Elf, section: Section) -> Segment:
    """The segment that the loader reads the section from; all others, and sections, must be clear of it."""
    end = section.offset + section.size
    for other in elf.sections:
        if other is section or other.type == e.SHT_NOBITS or not other.size:
            continue
        if other.offset < end and other.offset + other.size > section.offset:
            raise UserError(f"{other.name or 'a section'} overlaps {SECTION_NAME}")
    holder: Segment | None = None
    for segment in elf.segments:
        segment_end = segment.offset + segment.file_size
        if segment.offset >= end or segment_end <= section.offset:
            continue
        if segment.type != e.PT_LOAD or segment.offset > section.offset or segment_end < end or holder:
            raise UserError(f"{SECTION_NAME} is not inside one loaded segment alone")
        holder = segment
    if holder is None or holder.address - holder.offset != section.address - section.offset:
        raise UserError(f"{SECTION_NAME} is in no loaded segment")
    return holder


def _table_is_last(elf: Elf, section: Section, holder: Segment) -> bool:
    """Whether the program headers are the last of the code's segment, as _layout puts them."""
    start, code_end = elf.segments_offset, section.offset + section.size
    if start < section.offset:
        return False
    end = start + len(elf.segments) * e.SEGMENT.size
    others = (other.offset for other in elf.sections if other.size and other.type != e.SHT_NOBITS)
    if (
        start < code_end
        or end != holder.offset + holder.file_size
        or any(code_end <= o < end for o in others)
    ):
        raise UserError(f"its program headers are behind {SECTION_NAME}")
    return True


def _has_room(elf: Elf, count: int) -> bool:
    """Whether so many program headers fit in front of what follows their table."""
    followers = [section.offset for section in elf.sections if section.size] + [elf.sections_offset]
    first = min(offset for offset in followers if offset > elf.segments_offset)
    return first >= elf.segments_offset + count * e.SEGMENT.size


def _flags(elf: Elf, holder: Segment, start: int, stop: int) -> int:
    """The flags of a part of a segment: executable if what is to be executed is in it."""
    code = [s.offset for s in elf.sections if s.flags & e.SHF_EXECINSTR and s.size and s.type != e.SHT_NOBITS]
    inside = [offset for offset in code if holder.offset <= offset < holder.offset + holder.file_size]
    without = inside and not any(start <= offset < stop for offset in inside)
    return holder.flags & ~e.PF_X if without else holder.flags


def _layout(elf: Elf, section: Section, code_end: int) -> _Layout:
    holder = _holder(elf, section)
    end, holder_end = section.offset + section.size, holder.offset + holder.file_size
    last = _table_is_last(elf, section, holder)
    has_tail = holder_end > end and not last
    if not has_tail and holder.memory_size != holder.file_size:
        raise UserError(f"{SECTION_NAME} is followed by zero-initialised memory")
    starts = [elf.sections_offset]
    starts += [other.offset for other in elf.sections]
    starts += [segment.offset for segment in elf.segments]
    following = (offset for offset in starts if offset >= (holder_end if last else end))
    resume = end if has_tail else min(following, default=len(elf.data))
    count = len(elf.segments) + has_tail
    note = None
    if not last and not _has_room(elf, count):
        # patchelf, which official wheels go through, leaves room there. Without it a PT_NOTE has to go: the
        # loader needs none (section headers still name the notes).
        note = next((segment for segment in reversed(elf.segments) if segment.type == e.PT_NOTE), None)
        count -= note is not None
        last = note is None
    table, head_end = elf.segments_offset, code_end
    if last:
        table = code_end + -code_end % _ALIGN
        head_end = table + count * e.SEGMENT.size
    # The loader maps whole pages: an offset and its address must stay equal modulo every alignment.
    page = max(4096, *(segment.align for segment in elf.segments if segment.type == e.PT_LOAD))
    cut = resume - resume % page
    delta = (cut - head_end) // page * page
    if delta <= 0:
        return _Layout(elf.segments, elf.segments_offset, code_end, resume, 0)
    skipped = cut - holder.offset
    head = replace(
        holder,
        flags=_flags(elf, holder, holder.offset, end),
        file_size=head_end - holder.offset,
        memory_size=head_end - holder.offset,
    )
    tail = replace(
        holder,
        flags=_flags(elf, holder, end, holder_end),
        offset=cut - delta,
        address=holder.address + skipped,
        physical_address=holder.physical_address + skipped,
        file_size=holder.file_size - skipped,
        memory_size=holder.memory_size - skipped,
    )
    layout = _Layout((), table, code_end, resume, delta)
    segments: list[Segment] = []
    for segment in elf.segments:
        if segment is holder:
            segments += [head, tail] if has_tail else [head]
        elif segment.type == e.PT_PHDR:
            address = holder.address + table - holder.offset if last else segment.address
            size = count * e.SEGMENT.size
            segments.append(
                Segment(segment.type, segment.flags, table, address, address, size, size, segment.align)
            )
        elif segment is not note:
            segments.append(replace(segment, offset=layout.moved(segment.offset)))
    return replace(layout, segments=tuple(segments))


def _header_patches(elf: Elf, section: Section, layout: _Layout) -> Iterator[Patch]:
    table = b"".join(e.SEGMENT.pack(*vars(segment).values()) for segment in layout.segments)
    sections_offset = layout.moved(elf.sections_offset)
    yield layout.table, table
    yield 32, _u64(layout.table) + _u64(sections_offset)
    yield 56, len(layout.segments).to_bytes(2, "little")
    for other in elf.sections:
        size = layout.code_end - section.offset if other is section else other.size
        place = sections_offset + other.index * e.SECTION.size + 24
        yield place, _u64(layout.moved(other.offset)) + _u64(size)


def _pointer_patches(elf: Elf, section: Section, layout: _Layout, places: dict[int, int]) -> Iterator[Patch]:
    """Follow the containers with all that points at them; `places` is {old address: new address}."""
    relative = e.RELATIVE.get(elf.machine)
    inside = range(section.address, section.address + section.size)

    def place(value: int, what: str) -> bytes:
        if value not in places:
            raise UserError(f"{what} points into {SECTION_NAME}, but at no fat binary")
        return _u64(places[value])

    for table in elf.sections:
        if table.type != e.SHT_RELA or not table.flags & e.SHF_ALLOC:
            continue
        for offset, address, info, addend in _relocations_into(elf, table, section):
            what = f"the relocation at {address:#x}"
            if info >> 32:
                continue  # With a symbol the addend is a distance, not an address.
            if info != relative:
                raise UserError(f"{what} has the unknown type {info}")
            yield layout.moved(offset) + 16, place(addend, what)
    # The file's own value: the address itself without a RELA entry (RELR, REL), else a copy or nothing.
    for wrapper in read_wrappers(elf):
        if wrapper.value in inside:
            what = f"the wrapper at {wrapper.offset:#x}"
            yield layout.moved(wrapper.pointer_offset), place(wrapper.value, what)


def _symbol_patches(
    elf: Elf, section: Section, layout: _Layout, places: dict[int, int], sizes: dict[int, tuple[int, int]]
) -> Iterator[Patch]:
    """Follow the containers with their symbols; `sizes` has the old and the new size by the old address."""
    for table in elf.sections:
        if table.type not in (e.SHT_SYMTAB, e.SHT_DYNSYM):
            continue
        for offset, value, size in _symbols_of(elf, table, section):
            if value not in places:
                continue
            if table.type == e.SHT_DYNSYM:
                raise UserError(f"it exports a symbol inside {SECTION_NAME}")
            before, after = sizes[value]
            yield layout.moved(offset) + 8, _u64(places[value]) + _u64(after if size == before else size)


def _copies(moves: Sequence[_Move], section: Section, layout: _Layout, size: int) -> list[Copy]:
    pieces = [(0, 0, section.offset)]
    for move in moves:
        pieces.append((move.container.offset, move.offset, move.container.header_size))
        target = move.offset + move.container.header_size
        for entry in move.entries:
            pieces.append((entry.offset, target, entry.size))
            target += entry.size
    pieces.append((layout.resume, layout.moved(layout.resume), size - layout.resume))
    merged = pieces[:1]
    for source, target, length in pieces[1:]:
        last_source, last_target, last_length = merged[-1]
        if source - last_source == target - last_target == last_length:
            merged[-1] = (last_source, last_target, last_length + length)
        else:
            merged.append((source, target, length))
    return merged


def plan_rewriting(elf: Elf, keep: frozenset[int], keep_ptx: bool) -> Rewriting:
    """Work out the library with the GPU code for `keep` alone; see retarget_file for what that is.

    Raises UserError on a file that is not laid out as PyTorch's are.
    """
    section, containers = elf.section(SECTION_NAME), read_fatbins(elf)
    if section is None or not containers:
        raise UserError("it has no GPU code")
    if any(entry.kind == "lto" for container in containers for entry in container.entries):
        raise UserError(
            "it has LTO-IR, which a program may hand to the device linker: it cannot be retargeted"
        )
    moves = _compact(containers, section.offset, keep, keep_ptx)
    code_end = moves[-1].offset + moves[-1].size
    layout = _layout(elf, section, code_end)
    shift = section.address - section.offset
    places = {move.container.offset + shift: move.offset + shift for move in moves}
    sizes = {move.container.offset + shift: (move.container.size, move.size) for move in moves}
    had = code_names([container.entries for container in containers])
    kept = code_names([move.entries for move in moves])
    return Rewriting(
        size=len(elf.data) - layout.delta,
        copies=tuple(_copies(moves, section, layout, len(elf.data))),
        patches=tuple(
            sorted(
                (
                    *_header_patches(elf, section, layout),
                    *_pointer_patches(elf, section, layout, places),
                    *_symbol_patches(elf, section, layout, places, sizes),
                    # The payload's size, in each container's header.
                    *((m.offset + 8, _u64(m.size - m.container.header_size)) for m in moves),
                )
            )
        ),
        gpu_code_before=section.size,
        gpu_code_after=code_end - section.offset,
        kept=kept,
        dropped=tuple(name for name in had if name not in kept),
    )
