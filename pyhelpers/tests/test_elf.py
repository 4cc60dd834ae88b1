import contextlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from binaries import c_library, scratch, tool
from hypothesis import given
from hypothesis import strategies as st

from pytorch_variants.binary.elf import (
    SHT_DYNSYM,
    SHT_SYMTAB,
    STT_FUNC,
    Elf,
    ElfError,
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
