import contextlib
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from binaries import c_library, scratch, tool
from hypothesis import given
from hypothesis import strategies as st

from pytorch_variants.binary import elf as elf_module
from pytorch_variants.binary.elf import (
    HEADER,
    PT_DYNAMIC,
    PT_LOAD,
    PT_NOTE,
    SECTION,
    SEGMENT,
    SHT_DYNSYM,
    SHT_NOBITS,
    SHT_SYMTAB,
    STT_FUNC,
    STT_OBJECT,
    Elf,
    ElfError,
    Segment,
    find_all,
    open_elf,
)

SOURCE = "int table[100]; int answer(void) { return 42 + table[0]; }"


@pytest.fixture(scope="module")
def library() -> Path:
    return c_library(
        scratch() / "libanswer.so",
        SOURCE,
        *("-Wl,--no-as-needed", "-lm"),
        *("-Wl,--enable-new-dtags", "-Wl,-rpath,$ORIGIN/../lib:/opt/lib"),
    )


def test_dynamic_section(library: Path) -> None:
    with open_elf(library) as elf:
        assert elf.needed == ("libm.so.6", "libc.so.6")
        assert elf.runpath == ("$ORIGIN/../lib", "/opt/lib")
        assert elf.machine in ("x86_64", "aarch64")


def test_rpath_counts_as_runpath() -> None:
    path = c_library(scratch() / "librpath.so", SOURCE, "-Wl,--disable-new-dtags", "-Wl,-rpath,/opt/lib")
    with open_elf(path) as elf:
        assert elf.runpath == ("/opt/lib",)


@pytest.mark.parametrize("own", [True, False], ids=["a library", "the interpreter"])
def test_tables_are_those_of_readelf(library: Path, own: bool) -> None:
    path = library if own else Path(sys.executable).resolve()
    output = subprocess.run(
        [tool("readelf"), "-SlW", path], capture_output=True, text=True, check=True
    ).stdout
    sections = re.findall(
        r"^ +\[ *\d+\] (\S+) +[A-Z_]+ +([0-9a-f]{16}) ([0-9a-f]+) ([0-9a-f]+)", output, re.M
    )
    segments = re.findall(r"^  [A-Z_]+ +0x(\w+) 0x(\w+) 0x\w+ 0x(\w+) 0x(\w+)", output, re.M)
    with open_elf(path) as elf:
        ours = [(s.name, s.address, s.offset, s.size) for s in elf.sections[1:]]
        assert ours == [(name, *(int(v, 16) for v in values)) for name, *values in sections]
        parts = [(s.offset, s.address, s.file_size, s.memory_size) for s in elf.segments]
        assert parts == [tuple(int(value, 16) for value in values) for values in segments]


def test_an_address_leads_to_its_place(library: Path) -> None:
    with open_elf(library) as elf:
        text = elf.section(".text")
        assert text
        assert elf.offset_of(text.address) == text.offset
        with pytest.raises(ElfError, match="in no loaded segment"):
            elf.offset_of(1 << 60)


def test_a_section_that_is_not_there(library: Path) -> None:
    with open_elf(library) as elf:
        assert elf.section(".nv_fatbin") is None
        bss = elf.section(".bss")
        assert bss
        assert bss.size >= 400
        assert len(elf.contents(bss)) == 0


def test_it_is_good_inside_its_block_only(library: Path) -> None:
    with open_elf(library) as elf:
        elf.forget()
        assert elf.needed
    with pytest.raises(ValueError, match="released"):
        elf.data[0]
    # What is no map of a file has nothing to give back.
    Elf.parse(library.read_bytes()).forget()


def test_symbols_are_those_of_nm(library: Path) -> None:
    output = subprocess.run(
        ["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True
    )
    expected = {(name, int(address, 16)) for address, _, name in map(str.split, output.stdout.splitlines())}
    with open_elf(library) as elf:
        found = [symbol for symbol in elf.symbols(SHT_DYNSYM) if symbol.section]
        assert {(symbol.name, symbol.address) for symbol in found} == expected
        [answer] = [symbol for symbol in found if symbol.name == "answer"]
        assert (answer.kind, answer.local) == (STT_FUNC, False)
        assert answer.size > 0
        everything = list(elf.symbols(SHT_DYNSYM))
        assert list(elf.symbols(SHT_DYNSYM, 2)) == everything[:: len(everything) // 2]
        assert list(elf.symbols(SHT_DYNSYM, 10**6)) == everything


def patched(offset: int, data: bytes) -> Callable[[bytes], bytes]:
    return lambda whole: whole[:offset] + data + whole[offset + len(data) :]


@pytest.mark.parametrize(
    ("sabotage", "message"),
    [
        (lambda data: b"", "not an ELF file"),
        (lambda data: b"\x7fELF", "not an ELF file"),
        (lambda data: b"#!/bin/sh\n" * 100, "not an ELF file"),
        (patched(4, b"\1"), "32-bit"),
        (patched(5, b"\2"), "big-endian"),
        (patched(54, b"\x20\0"), "program headers of 32 bytes"),
        (patched(58, b"\x28\0"), "section headers of 40 bytes"),
        (patched(62, b"\xff\xfe"), "should have the section names"),
        (patched(32, b"\xff" * 8), "program header table ends at"),
        (patched(40, b"\xff" * 8), "section header table ends at"),
        (lambda data: data[:-1], "past the end of the file"),
        (lambda data: data[:4096], "past the end of the file"),
        (lambda data: data[:100], "past the end of the file"),
    ],
)
def test_bad_files(library: Path, tmp_path: Path, sabotage: Callable[[bytes], bytes], message: str) -> None:
    path = tmp_path / "bad.so"
    path.write_bytes(sabotage(library.read_bytes()))
    with pytest.raises(ElfError, match=message) as caught, open_elf(path):
        pass
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.so", "."])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(ElfError, match=r"No such file|Is a directory"), open_elf(tmp_path / name):
        pass


def read_all(data: bytes) -> None:
    """Everything that the reader offers; what is wrong with the data must come as ElfError."""
    try:
        elf = Elf.parse(data)
    except ElfError:
        return
    for name in ("needed", "runpath"):
        try:
            getattr(elf, name)
        except ElfError as error:
            assert "\n" not in str(error)
    for table in (SHT_SYMTAB, SHT_DYNSYM):
        with contextlib.suppress(ElfError):
            list(elf.symbols(table))


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes(data: bytes, elf: bool) -> None:
    read_all(b"\x7fELF\2\1" + data if elf else data)


@given(st.data())
def test_any_damage(library: Path, data: st.DataObject) -> None:
    damaged = bytearray(library.read_bytes())
    # The headers are where damage is interesting: those of the file and of the sections, at its end.
    end = len(damaged) - 8
    places = st.one_of(st.integers(0, 800), st.integers(end - 2000, end), st.integers(0, end))
    for place in data.draw(st.lists(places, min_size=1, max_size=6)):
        value = data.draw(st.binary(min_size=1, max_size=8))
        damaged[place : place + len(value)] = value
    read_all(bytes(damaged[: data.draw(st.sampled_from([len(damaged), len(damaged) // 2]))]))


def changed(segment: Segment, elf: Elf, **fields: int) -> Callable[[bytes], bytes]:
    """Change a program header."""
    place = elf.segments_offset + elf.segments.index(segment) * SEGMENT.size
    return patched(place, SEGMENT.pack(*vars(replace(segment, **fields)).values()))


def test_the_loader_takes_the_last_dynamic_section(library: Path) -> None:
    data = library.read_bytes()
    elf = Elf.parse(data)
    dynamic = next(segment for segment in elf.segments if segment.type == PT_DYNAMIC)
    assert elf.segments.index(dynamic) < len(elf.segments) - 1
    again = changed(elf.segments[-1], elf, type=PT_DYNAMIC, file_size=0)
    assert Elf.parse(again(data)).dynamic == ()
    # And no more of it than what is in front of the first DT_NULL.
    one = patched(dynamic.offset + 16, bytes(16))
    assert Elf.parse(one(data)).dynamic == elf.dynamic[:1]


def test_counts_that_the_header_has_no_room_for(library: Path) -> None:
    data = library.read_bytes()
    elf = Elf.parse(data)
    [names] = [section.index for section in elf.sections if section.name == ".shstrtab"]
    for place, value, said in (
        (56, 0xFFFF, (0, 0, len(elf.segments))),
        (60, 0, (len(elf.sections), 0, 0)),
        (62, 0xFFFF, (0, names, 0)),
    ):
        first = patched(elf.sections_offset, SECTION.pack(0, 0, 0, 0, 0, *said, 0, 0))
        found = Elf.parse(patched(place, struct.pack("<H", value))(first(data)))
        assert found.segments == elf.segments
        assert found.sections[1:] == elf.sections[1:]


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 65000, 66000])
def test_names_of_any_length(length: int) -> None:
    header = HEADER.pack(b"\x7fELF\2\1".ljust(16, b"\0"), 3, 62, 1, 0, 0, 64, 0, 64, 56, 0, 64, 2, 1)
    data = header + bytes(64) + SECTION.pack(0, 3, 0, 0, 192, length + 1, 0, 0, 0, 0) + b"a" * length + b"\0"
    if length > 1 << 16:
        with pytest.raises(ElfError, match="has no end"):
            Elf.parse(data)
    else:
        assert [section.name for section in Elf.parse(data).sections] == ["", "a" * length]
    # Without a section of names there are none, and one without an end is damage.
    assert [section.name for section in Elf.parse(patched(62, bytes(2))(data)).sections] == ["", ""]
    with pytest.raises(ElfError, match=r"past the end of the file|has no end"):
        Elf.parse(data[:-1])


def test_a_section_that_cannot_be(library: Path) -> None:
    data = library.read_bytes()
    elf = Elf.parse(data)
    text = elf.section(".text")
    assert text
    place = elf.sections_offset + text.index * SECTION.size + 32
    most = len(data) - text.offset
    assert Elf.parse(patched(place, struct.pack("<Q", most))(data))
    with pytest.raises(ElfError, match=f"section {text.index} ends at {len(data) + 1}"):
        Elf.parse(patched(place, struct.pack("<Q", most + 1))(data))


def test_what_a_header_claims_has_a_limit(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = library.read_bytes()
    elf = Elf.parse(data)
    for name, most, message in (
        ("_MOST_SECTIONS", len(elf.sections), "sections"),
        ("_MOST_SEGMENTS", len(elf.segments), "segments"),
        ("_MOST_NAMES", sum(len(section.name) for section in elf.sections), "characters"),
        ("_MOST_DYNAMIC", len(elf.dynamic), "entries"),
    ):
        with monkeypatch.context() as limited:
            limited.setattr(elf_module, name, most)
            assert Elf.parse(data).sections == elf.sections
            limited.setattr(elf_module, name, most - 1)
            with pytest.raises(ElfError, match=f"{most - 1}.* {message}|{message}.*{most - 1}"):
                Elf.parse(data)


def test_segments_that_cannot_be(library: Path) -> None:
    data = library.read_bytes()
    elf = Elf.parse(data)
    last = next(segment for segment in elf.segments if segment.type == PT_NOTE)
    for fields, message in (
        ({"offset": len(data), "file_size": 1}, "a segment ends at"),
        ({"address": (1 << 64) - 1, "memory_size": 1}, "past the end of memory"),
        ({"type": PT_LOAD, "file_size": 8, "memory_size": 7}, "has room for 7"),
    ):
        with pytest.raises(ElfError, match=message):
            Elf.parse(changed(last, elf, **fields)(data))
    for fields in (
        {"offset": len(data) - 1, "file_size": 1},
        {"address": (1 << 64) - 2, "physical_address": 0, "memory_size": 1},
        {"file_size": 8, "memory_size": 7},
    ):
        assert Elf.parse(changed(last, elf, **fields)(data))


@given(st.data())
def test_places_belong_to_what_has_them(library: Path, data: st.DataObject) -> None:
    with open_elf(library) as elf:
        edges = {
            edge + by for s in elf.segments for edge in (s.offset, s.offset + s.file_size) for by in (-1, 0)
        }
        edges |= {edge + by for s in elf.sections for edge in (s.offset, s.offset + s.size) for by in (-1, 0)}
        offset = data.draw(st.sampled_from(sorted(edge for edge in edges if edge >= 0)))
        size = data.draw(st.integers(1, 64))
        segment, section = elf.segment_at(offset, size), elf.section_at(offset)
        inside = [
            s
            for s in elf.segments
            if s.type == PT_LOAD and s.offset <= offset and offset + size <= s.offset + s.file_size
        ]
        assert segment == (inside[0] if inside else None)
        filled = [
            s
            for s in elf.sections
            if s.type not in (0, SHT_NOBITS) and offset in range(s.offset, s.offset + s.size)
        ]
        assert section == (filled[0] if filled else None)


@given(st.data(), st.lists(st.integers(0, 1), min_size=1, max_size=3), st.integers(1, 7))
def test_all_places_are_found_once(data: st.DataObject, wanted: list[int], window: int) -> None:
    """However much is looked at together: `wanted` may go on behind the end, and begins in front of it."""
    text, part = bytes(data.draw(st.lists(st.integers(0, 1), min_size=20, max_size=60))), bytes(wanted)
    start, end = sorted(data.draw(st.tuples(st.integers(0, 20), st.integers(0, 20))))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(elf_module, "WINDOW", window)
        found = list(find_all(memoryview(text), part, start, end))
    assert found == [place for place in range(start, end) if text.startswith(part, place)]


NAMES = "".join(
    f"int item_{number}_of_many = {number}; int *to_{number} = &item_{number}_of_many;" for number in range(9)
)


@pytest.fixture(scope="module")
def names() -> Path:
    return c_library(scratch() / "libnames.so", NAMES, "-Wl,-Bsymbolic")


@pytest.mark.parametrize("rows", [1, 4, 1 << 16])
def test_symbols_by_a_part_of_their_names(names: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf_module, "_ROWS", rows)
    with open_elf(names) as elf:
        for type_ in (SHT_SYMTAB, SHT_DYNSYM):
            every = list(elf.symbols(type_))
            for texts, before in (
                ([b"item_"], 0),
                ([b"_of_many"], 6),
                ([b"_of_many"], 5),
                ([b"_3", b"o_4"], 4),
            ):
                expected = [
                    symbol
                    for symbol in every
                    if any(0 <= symbol.name.find(text.decode()) <= before for text in texts)
                ]
                assert list(elf.symbols_with(type_, texts, before, 100)) == expected
                for most in (1, 3):
                    assert list(elf.symbols_with(type_, texts, before, most)) == expected[:most]
        assert {symbol.kind for symbol in elf.symbols_with(SHT_DYNSYM, [b"item_"], 0, 9)} == {STT_OBJECT}
    assert len(expected) == 3


@pytest.mark.parametrize("rows", [1, 4, 1 << 16])
def test_relocations_are_those_of_readelf(names: Path, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elf_module, "_ROWS", rows)
    output = subprocess.run(
        [tool("readelf"), "-rW", names], capture_output=True, text=True, check=True
    ).stdout
    table = re.findall(r"^([0-9a-f]{16})  \w{16} (\w+) +(.*)$", output, re.M)
    expected = {int(at, 16): int(value, 16) for at, kind, value in table if kind.endswith("_RELATIVE")}
    with open_elf(names) as elf:
        assert elf.relocated([int(at, 16) for at, _, _ in table]) == expected
        places = sorted(expected)[::3]
        assert elf.relocated(places) == {place: expected[place] for place in places}
        assert elf.relocated([]) == elf.relocated([1]) == {}
    assert len(expected) < len(table)


def test_tables_whose_names_are_nowhere(library: Path) -> None:
    data = library.read_bytes()
    elf = Elf.parse(data)
    [table] = [section.index for section in elf.sections if section.type == SHT_DYNSYM]
    place = elf.sections_offset + table * SECTION.size + 40
    damaged = Elf.parse(patched(place, struct.pack("<I", len(elf.sections)))(data))
    assert list(damaged.symbols(SHT_DYNSYM)) == []
    assert list(damaged.symbols_with(SHT_DYNSYM, [b"answer"], 0, 9)) == []
