import errno
import os
import shutil
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from binaries import (
    LIBRARIES,
    complaints,
    contents,
    cubins,
    cuda_library,
    cuobjdump,
    run_library,
    section_bytes,
    tool,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch_variants.binary.elf import (
    PT_LOAD,
    PT_NOTE,
    RELA,
    SHT_NOBITS,
    SYMBOL,
    Elf,
    open_elf,
)
from pytorch_variants.binary.fatbin import (
    Entry,
    read_fatbins,
    read_wrappers,
)
from pytorch_variants.errors import UserError
from pytorch_variants.hardware.compatibility import select
from pytorch_variants.retarget.layout import plan_rewriting
from pytorch_variants.retarget.library import retarget_file


def retargeted(name: str, tmp_path: Path, *keep: int, keep_ptx: bool = False) -> Path:
    target = tmp_path / f"{name}.so"
    retarget_file(cuda_library(name), target, frozenset(keep), keep_ptx=keep_ptx)
    return target


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("arch", [80, 90, 61])
def test_the_result_is_sound(name: str, arch: int, tmp_path: Path) -> None:
    before, after = cuda_library(name), retargeted(name, tmp_path, arch)
    assert complaints(after) == ""
    # No driver here: the same error, from a library that loads, registers its kernels and launches one.
    assert run_library(after) == run_library(before)
    symbols = [
        subprocess.run([tool("nm"), "-D", path], capture_output=True, check=True).stdout
        for path in (before, after)
    ]
    assert symbols[0] == symbols[1]
    with open_elf(after) as elf:
        loads = [segment for segment in elf.segments if segment.type == PT_LOAD]
        assert all((s.address - s.offset) % s.align == 0 for s in loads)
        assert all(a.address + a.memory_size <= b.address for a, b in pairwise(loads))
        for section in elf.sections:
            if section.address and section.size and section.type != SHT_NOBITS and section.flags & 2:
                assert elf.offset_of(section.address) == section.offset
        starts = [container.offset for container in read_fatbins(elf)]
        code = elf.section(".nv_fatbin")
        assert code
        shift = code.address - code.offset
        pointed = {wrapper.value for wrapper in read_wrappers(elf)} | addends(elf)
        assert {start + shift for start in starts} <= pointed


def addends(elf: Elf) -> set[int]:
    return {
        row[2]
        for table in elf.sections
        if table.name == ".rela.dyn"
        for row in RELA.iter_unpack(section_bytes(elf, table))
    }


def nothing_else_changes(official: Path, cut: Path) -> None:
    """Hold all sections of a cut library against those of the one that it was made of."""
    with open_elf(official) as before, open_elf(cut) as after:
        stated = {".nv_fatbin", ".nvFatBinSegment", ".rela.dyn", ".symtab"}
        for old, new in zip(before.sections, after.sections, strict=True):
            assert (old.name, old.type, old.flags, old.address, old.link) == (
                *(new.name, new.type, new.flags, new.address, new.link),
            )
            if old.name not in stated:
                assert section_bytes(before, old) == section_bytes(after, new), old.name
        pairs = list(zip(read_fatbins(before), read_fatbins(after), strict=True))
        moved = {a.offset: b.offset for a, b in pairs}
        sizes = {a.offset: (a.size, b.size) for a, b in pairs}
        code = before.section(".nv_fatbin")
        assert code
        shift = code.address - code.offset
        for section_name, row, field in ((".rela.dyn", RELA, 2), (".symtab", SYMBOL, 4)):
            tables = before.section(section_name), after.section(section_name)
            if not tables[0] or not tables[1]:
                continue
            for old_row, new_row in zip(
                row.iter_unpack(section_bytes(before, tables[0])),
                row.iter_unpack(section_bytes(after, tables[1])),
                strict=True,
            ):
                expected = list(old_row)
                inside = section_name == ".rela.dyn" or old_row[3] == code.index
                if inside and (old_place := expected[field] - shift) in moved:
                    expected[field] = moved[old_place] + shift
                    if row is SYMBOL and expected[5] == sizes[old_place][0]:
                        expected[5] = sizes[old_place][1]
                assert tuple(expected) == new_row


@pytest.mark.parametrize("name", LIBRARIES)
def test_nothing_else_changes(name: str, tmp_path: Path) -> None:
    nothing_else_changes(cuda_library(name), retargeted(name, tmp_path, 90))


EXCEPTIONS = """
#include <stdexcept>
__global__ void add(float *x) { *x += 1; }
extern "C" __attribute__((noinline)) void raise_it(int depth) {
  if (depth) { raise_it(depth - 1); asm volatile(""); } else throw std::runtime_error("thrown in it");
}
extern "C" int catch_it(void (*function)(int)) {
  add<<<1, 1>>>(nullptr);
  try { function(5); } catch (const std::runtime_error &error) { return error.what()[0]; }
  return 0;
}
"""


# nvcc compiles C++ with exceptions.
@pytest.mark.slow
def test_exceptions_are_caught_across_it(tmp_path: Path) -> None:
    """Thrown in a retargeted library and caught in another, which unwinds both by their eh_frame."""
    source, path = tmp_path / "throwing.cu", tmp_path / "libthrowing.so"
    source.write_text(EXCEPTIONS)
    options = ("-shared", "-Xcompiler=-fPIC", "-cudart=static", *LIBRARIES["many"])
    subprocess.run([tool("nvcc"), *options, "-o", path, source], check=True)
    other = Path(shutil.copy(path, tmp_path / "libcatching.so"))
    result = retarget_file(path, path, frozenset({90}))
    assert result.after < result.before
    retarget_file(other, other, frozenset({80}))
    program = (
        "import ctypes, sys; a, b = (ctypes.CDLL(path) for path in sys.argv[1:]);"
        "print(b.catch_it(a.raise_it), a.catch_it(b.raise_it))"
    )
    found = subprocess.run([sys.executable, "-c", program, path, other], capture_output=True, check=True)
    assert found.stdout.split() == [b"116", b"116"]
    frames = [
        subprocess.run([tool("readelf"), "--debug-dump=frames", one], capture_output=True, check=True).stdout
        for one in (path, other)
    ]
    assert frames[0].count(b"FDE") > 3
    assert frames[0].split(b"\n", 3)[3] == frames[1].split(b"\n", 3)[3]


@pytest.mark.parametrize("name", ["many", "compressed", "suffixes"])
def test_kept_code_is_the_same_code(name: str, tmp_path: Path) -> None:
    def code(elf: Elf, entries: tuple[Entry, ...]) -> list[bytes]:
        return [bytes(elf.data[e.offset : e.offset + e.size]) for e in entries if e.arch == 90]

    with open_elf(cuda_library(name)) as before, open_elf(retargeted(name, tmp_path, 90)) as after:
        for old, new in zip(read_fatbins(before), read_fatbins(after), strict=True):
            assert code(before, old.entries) == code(after, new.entries)
            assert {entry.arch for entry in new.entries} == {90}


@pytest.mark.parametrize(
    ("keep", "ptx", "expected"),
    [
        ({90}, False, ["cubin sm_90a"]),
        ({120}, False, ["cubin sm_120"]),
        ({120}, True, ["cubin sm_120", "ptx sm_120"]),
        ({90}, True, ["cubin sm_90a"]),
        ({80, 120}, False, ["cubin sm_80", "cubin sm_120"]),
        # What a GPU runs in place of code of its own: sm_80 code on sm_86, sm_100f code on sm_103.
        ({86}, False, ["cubin sm_80"]),
        ({103}, False, ["cubin sm_100f"]),
        ({121}, True, ["cubin sm_120"]),
        # PTX where no cubin runs.
        ({130}, False, ["ptx sm_120"]),
        # But never code of a later one, of another major one, or sm_90a code on anything else.
        ({75}, False, []),
        ({91}, False, []),
        ({61}, False, []),
    ],
)
def test_what_is_kept(keep: set[int], ptx: bool, expected: list[str], tmp_path: Path) -> None:
    target = retargeted("suffixes", tmp_path, *keep, keep_ptx=ptx)
    assert contents(target)[-1] == expected
    assert cubins(target) == cuobjdump(target)
    assert run_library(target) == run_library(cuda_library("suffixes"))


def test_the_account_of_it(tmp_path: Path) -> None:
    source, target = cuda_library("suffixes"), tmp_path / "out.so"
    result = retarget_file(source, target, frozenset({90}))
    assert result.path == target
    assert result.before == source.stat().st_size
    assert result.after == target.stat().st_size < result.before
    assert result.kept == ("sm_90a",)
    assert result.dropped == ("sm_80", "sm_100f", "compute_120", "sm_120")
    with open_elf(source) as old, open_elf(target) as new:
        sizes = [section.size for elf in (old, new) if (section := elf.section(".nv_fatbin"))]
    assert sizes == [result.gpu_code_before, result.gpu_code_after]
    # All that is dropped is gone from the file, but for what the loader's pages take.
    assert result.before - result.after > sizes[0] - sizes[1] - 2 * 4096


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_second_time_changes_nothing(name: str, tmp_path: Path) -> None:
    once = retargeted(name, tmp_path, 90)
    result = retarget_file(once, tmp_path / "twice.so", frozenset({90}))
    assert result.dropped == ()
    assert (tmp_path / "twice.so").read_bytes() == once.read_bytes()


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(LIBRARIES)),
    st.frozensets(st.sampled_from([75, 80, 86, 90, 100, 120]), min_size=1),
    st.booleans(),
)
def test_retargeting_is_idempotent(name: str, keep: frozenset[int], keep_ptx: bool) -> None:
    with tempfile.TemporaryDirectory() as directory:
        once, twice = Path(directory) / "once.so", Path(directory) / "twice.so"
        retarget_file(cuda_library(name), once, keep, keep_ptx=keep_ptx)
        retarget_file(once, twice, keep, keep_ptx=keep_ptx)
        assert once.read_bytes() == twice.read_bytes()
        # NVIDIA's tool sees what is meant to be there, and all of it.
        with open_elf(cuda_library(name)) as elf:
            chosen = [select(c.entries, keep, keep_ptx) for c in read_fatbins(elf)]
        assert contents(once) == [[f"{entry.kind} {entry.sm}" for entry in entries] for entries in chosen]
        assert cubins(once) == cuobjdump(once)


@pytest.mark.parametrize("name", sorted(LIBRARIES))
def test_two_steps_are_one(name: str, tmp_path: Path) -> None:
    two = retargeted(name, tmp_path, 80, 90)
    retarget_file(two, two, frozenset({90}))
    assert two.read_bytes() == retargeted(name, tmp_path / "..", 90).read_bytes()


def test_in_place_with_the_mode_kept(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    shutil.copy(cuda_library("many"), path)
    path.chmod(0o555)
    retarget_file(path, path, frozenset({90}))
    assert path.stat().st_mode & 0o7777 == 0o555
    assert path.read_bytes() == retargeted("many", tmp_path, 90).read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["lib.so", "many.so"]


def test_a_kernel_that_reads_and_writes_a_little_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = retargeted("many", tmp_path, 90).read_bytes()
    read, write = os.preadv, os.pwrite
    monkeypatch.setattr(os, "preadv", lambda file, into, at: read(file, [into[0][:1001]], at))
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: write(file, data[:997], at))
    assert retargeted("many", tmp_path, 90).read_bytes() == expected


def test_a_full_disk_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "lib.so"
    shutil.copy(cuda_library("many"), path)

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(UserError, match="No space left on device"):
        retarget_file(path, path, frozenset({90}))
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == cuda_library("many").read_bytes()


def test_refusals_leave_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "lib.so"
    whole = cuda_library("many").read_bytes()
    with open_elf(cuda_library("many")) as elf:
        code, wrappers = elf.section(".nv_fatbin"), elf.section(".nvFatBinSegment")
        rela = elf.section(".rela.dyn")
        assert code and wrappers and rela
        pointer = code.address.to_bytes(8, "little")
        relocation = whole.index(pointer, rela.offset)
        assert relocation < rela.offset + rela.size
    for data, message in [
        (whole[:-1000], "past the end of the file"),
        (whole[: wrappers.offset] + b"\0" + whole[wrappers.offset + 1 :], "no fat binary wrapper"),
        (
            whole[:relocation] + (code.address + 8).to_bytes(8, "little") + whole[relocation + 8 :],
            "points into .nv_fatbin, but at no fat binary",
        ),
        (Path("/bin/sh").resolve().read_bytes(), "it has no GPU code"),
        (b"", "not an ELF file"),
    ]:
        path.write_bytes(data)
        with pytest.raises(UserError, match=message) as caught:
            retarget_file(path, path, frozenset({90}))
        assert str(caught.value).startswith(f"{path}: ")
        assert path.read_bytes() == data
        assert list(tmp_path.iterdir()) == [path]


@given(st.data())
def test_any_damage(data: st.DataObject) -> None:
    damaged = bytearray(cuda_library("many").read_bytes())
    elf = Elf.parse(bytes(damaged))
    tables = st.integers(elf.sections_offset, len(damaged) - 8)
    for place in data.draw(st.lists(st.one_of(st.integers(0, 640), tables), min_size=1, max_size=6)):
        value = data.draw(st.binary(min_size=1, max_size=8))
        damaged[place : place + len(value)] = value
    try:
        plan = plan_rewriting(Elf.parse(bytes(damaged)), frozenset({90}), False)
    except UserError as error:
        assert "\n" not in str(error)
        return
    for source, target, length in plan.copies:
        assert 0 <= source <= source + length <= len(damaged)
        assert 0 <= target <= target + length <= plan.size
    for place, patch in plan.patches:
        assert 0 <= place <= place + len(patch) <= plan.size


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="No such file"):
        retarget_file(cuda_library("many"), tmp_path / "missing" / "lib.so", frozenset({90}))


def test_without_room_for_a_program_header(tmp_path: Path) -> None:
    """Their table moves behind the code, and again with it; no program header has to go."""
    path = retargeted("noteless", tmp_path, 80, 90)
    with open_elf(cuda_library("noteless")) as before, open_elf(path) as after:
        code = after.section(".nv_fatbin")
        assert code
        assert before.segments_offset < code.offset + code.size <= after.segments_offset
        assert len(after.segments) == len(before.segments) + 1
    subprocess.run([tool("patchelf"), "--set-rpath", "/" + "x" * 5000, path], check=True)
    assert complaints(path) == ""
    assert run_library(path) == run_library(cuda_library("noteless"))


def test_patchelf_before_and_after(tmp_path: Path) -> None:
    # As official wheels: patchelf has made room, so that the note keeps its program header.
    path = tmp_path / "lib.so"
    shutil.copy(cuda_library("many"), path)
    run_path = "/" + "x" * 5000
    subprocess.run([tool("patchelf"), "--set-rpath", run_path, path], check=True)
    retarget_file(path, path, frozenset({90}))
    assert complaints(path) == ""
    with open_elf(path) as elf:
        assert any(segment.type == PT_NOTE for segment in elf.segments)
    subprocess.run([tool("patchelf"), "--set-rpath", run_path * 3, path], check=True)
    assert complaints(path) == ""
    assert set(cubins(path)) == {"sm_90"}
    assert run_library(path) == run_library(cuda_library("many"))
