"""GPU code wherever it lies in a file: what is there is found, and what is found is judged by itself."""

import contextlib
import re
import struct
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import lz4.block
import pytest
import zstandard
from binaries import CUDA, c_library, cuda_library, fatbin_of_cuda_12, nvcc_library, scratch, tool
from hypothesis import given
from hypothesis import strategies as st

from pytorch_variants.binary import fatbin
from pytorch_variants.binary.cubin import (
    PayloadError,
    Target,
    check_size,
    cubin_size,
    cubin_target,
    lz4_head,
    read_cubin,
    unpack_lz4,
    unpack_zstd,
)
from pytorch_variants.binary.elf import HEADER, SECTION, WINDOW, Elf
from pytorch_variants.binary.fatbin import (
    CONTAINER,
    Container,
    find_wrappers,
    read_fatbins,
    read_payload,
    read_wrappers,
    scan,
)
from pytorch_variants.errors import UserError
from pytorch_variants.findings import Finding, Origin
from pytorch_variants.names.variant import parse_name
from pytorch_variants.retarget.cut import Cut, cuts_of, merged
from pytorch_variants.retarget.layout import cut_of
from pytorch_variants.retarget.library import retarget_file
from pytorch_variants.verify.facts import LibraryFacts, Role
from pytorch_variants.verify.gpu import check_gpu, read_gpu

MAIN = "torch/lib/libtorch_cuda.so"
Change = Callable[[bytes], bytes]


def facts(data: bytes, name: str = MAIN, role: Role = "torch") -> LibraryFacts:
    elf = Elf.parse(data)
    path = Path(name)
    return LibraryFacts(path, name, role, path.parts[0], machine=elf.machine, gpu=read_gpu(elf, whose=True))


def rows(
    data: bytes,
    variant: str = "pytorch-sm90-avx512",
    origin: Origin = Origin.SOURCE,
    cut: Cut | None = None,
    *,
    name: str = MAIN,
    role: Role = "torch",
) -> list[Finding]:
    """The findings about a torch whose main library is this."""
    libraries = [facts(data, name, role)]
    if role != "torch":
        libraries.append(facts(right()))
    return list(check_gpu(libraries, parse_name(variant), origin, {name: cut} if cut else None))


def wrong(found: Iterable[Finding]) -> list[str]:
    return [f"{row.check}: {row.found_text}" for row in found if row.status == "wrong"]


@cache
def right() -> bytes:
    """A library for sm_90 alone, its code not compressed, so that it can be changed."""
    return nvcc_library("sm90", "-gencode=arch=compute_90,code=sm_90", "--no-compress").read_bytes()


@cache
def packed() -> bytes:
    """The same, compressed as nvcc 13 does it."""
    return nvcc_library(
        "sm90packed", "-gencode=arch=compute_90,code=sm_90", "-Xfatbin", "-compress-all"
    ).read_bytes()


def containers(data: bytes) -> tuple[Container, ...]:
    return read_fatbins(Elf.parse(data))


def patch(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


def entry(data: bytes, number: int = -1) -> tuple[int, int]:
    """The place and size of a payload: the last container's, which has our own kernels."""
    found = containers(data)[number].entries[0]
    return found.offset + found.header_size, found.payload_size


@cache
def stray(kind: str) -> bytes:
    """Code for sm_80 by itself: a fat binary, a cubin, or PTX text."""
    fat = nvcc_library("sm80plain", "-gencode=arch=compute_80,code=sm_80", "--no-compress").read_bytes()
    if kind == "fat binary":
        found = containers(fat)[-1]
        return fat[found.offset : found.offset + found.size]
    if kind == "cubin":
        start, size = entry(fat)
        return fat[start : start + size]
    source = scratch() / "stray.cu"
    source.write_text(CUDA)
    return subprocess.run(
        [tool("nvcc"), "-ptx", "-arch=compute_80", "-o", "/dev/stdout", source],
        capture_output=True,
        check=True,
    ).stdout


def without_sections(data: bytes) -> bytes:
    """As sstrip leaves it: the loader never looks at section headers."""
    return patch(patch(data, 40, bytes(8)), 58, bytes(6))


def with_many_sections(data: bytes) -> bytes:
    """More than 0xff00 sections: their number, and that of the names, stand in the first one's header."""
    elf = Elf.parse(data)
    table = data[elf.sections_offset : elf.sections_offset + len(elf.sections) * SECTION.size]
    names = struct.unpack_from("<H", data, 62)[0]
    count = 0xFF10
    rest = table[SECTION.size :] + bytes((count - len(elf.sections)) * SECTION.size)
    first = SECTION.pack(0, 0, 0, 0, 0, count, names, 0, 0, 0)
    end = len(data) + -len(data) % 8
    data = data.ljust(end, b"\0") + first + rest
    return patch(patch(data, 40, struct.pack("<Q", end)), 60, struct.pack("<HH", 0, 0xFFFF))


OPTIONS = ("-gencode=arch=compute_90,code=sm_90", "-Xcompiler=-fPIC", "-cudart=static")


@cache
def kernels() -> Path:
    """An object file of the right kernels."""
    source = scratch() / "kernels90.cu"
    source.write_text(CUDA)
    target = source.with_suffix(".o")
    subprocess.run([tool("nvcc"), *OPTIONS, "-c", "-o", target, source], check=True)
    return target


@cache
def embedded(section: str, kind: str) -> bytes:
    """The right library with code for sm_80 in a section of our choice beside it."""
    directory = Path(tempfile.mkdtemp(dir=scratch()))
    (directory / "stray").write_bytes(stray(kind))
    (directory / "stray.s").write_text(
        f'.section {section}\n.balign 8\n.globl stray\nstray: .incbin "{directory / "stray"}"\n'
    )
    subprocess.run(["gcc", "-c", directory / "stray.s", "-o", directory / "stray.o"], check=True)
    library = directory / "lib.so"
    objects = (kernels(), directory / "stray.o")
    subprocess.run([tool("nvcc"), *OPTIONS, "-shared", "-o", library, *objects], check=True)
    return library.read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data,
        without_sections,
        with_many_sections,
        lambda data: packed(),
    ],
    ids=["as it is", "no section headers", "many sections", "compressed"],
)
def test_right_ones_pass(change: Change) -> None:
    assert wrong(rows(change(right()))) == []
    assert {code.name for code in facts(change(right())).gpu.codes} == {"sm_90"}


@pytest.mark.parametrize("change", [without_sections, with_many_sections], ids=["none", "many"])
def test_sections_hide_nothing(change: Change) -> None:
    [row, *_] = wrong(rows(change(cuda_library("many").read_bytes())))
    assert "sm_75 sm_80 sm_120 not in the name" in row


@pytest.mark.parametrize("kind", ["fat binary", "cubin", "PTX"])
@pytest.mark.parametrize(
    "section",
    ['.rodata,"a"', '.text,"ax"', '.data,"aw"', '.nv_fatbin2,"a"', '.note.code,"",@note', '.comment2,""'],
)
def test_code_in_any_section(section: str, kind: str) -> None:
    found = wrong(rows(embedded(section, kind)))
    assert any("80" in text for text in found), found


@pytest.mark.parametrize("kind", ["fat binary", "cubin", "PTX"])
@pytest.mark.parametrize("shift", [0, 3])
def test_code_behind_the_file(kind: str, shift: int) -> None:
    data = right() + bytes(shift) + stray(kind) + bytes(40)
    found = wrong(rows(data))
    assert any("80" in text for text in found), found


def test_a_second_section_of_the_same_name() -> None:
    data = embedded('.nv_fatbin2,"a"', "fat binary")
    twice = data.replace(b".nv_fatbin2\0", b".nv_fatbin\0\0")
    assert sum(section.name == ".nv_fatbin" for section in Elf.parse(twice).sections) == 2
    assert wrong(rows(twice))


def claim(**fields: int) -> Change:
    """Change fields of the last container's first entry: the kind, the architecture, the flags."""

    def change(data: bytes) -> bytes:
        place = containers(data)[-1].entries[0].offset
        for name, value in fields.items():
            offset, form = {"kind": (0, "<H"), "arch": (28, "<I"), "unpacked": (56, "<Q")}[name]
            data = patch(data, place + offset, struct.pack(form, value))
        return data

    return change


def accelerated(data: bytes) -> bytes:
    """The cubin's own header says sm_90a, as ptxas 12 writes it."""
    start, _ = entry(data)
    return patch(data, start + 48, bytes([data[start + 48] | 8]))


def hollow(data: bytes) -> bytes:
    start, size = entry(data)
    return patch(data, start, bytes(size))


def behind_the_header(data: bytes) -> bytes:
    start, size = entry(data)
    return patch(data, start + 64, bytes(size - 64))


def no_instructions(data: bytes) -> bytes:
    start, size = entry(data)
    cubin = Elf.parse(data[start : start + size])
    for section in cubin.sections:
        if section.name.startswith(".text."):
            data = patch(data, start + section.offset, bytes(section.size))
    return data


def cut_off(data: bytes) -> bytes:
    """The cubin's section headers are said to be where nothing is."""
    start, _ = entry(data)
    return patch(data, start + 40, struct.pack("<Q", 1 << 30))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (claim(arch=80), "code for sm_90 in an entry for sm_80"),
        (claim(kind=1), "no PTX text"),
        (accelerated, "code for sm_90a in an entry for sm_90"),
        (hollow, "sm_90 is zeros|zeros"),
        (behind_the_header, "zeros behind its header"),
        (no_instructions, "zeros in place of code, in 2 of 2"),
        (cut_off, "cut off"),
    ],
)
def test_entries_are_what_they_say(change: Change, message: str) -> None:
    found = wrong(rows(change(right())))
    assert any(re.search(message, text) for text in found), found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (hollow, "does not unpack"),
        (claim(arch=80), "code for sm_90 in an entry for sm_80"),
        (claim(unpacked=1 << 40), "no cubin|cannot be|once unpacked|does not unpack"),
        (claim(unpacked=8), "once unpacked|does not unpack"),
        (lambda data: patch(data, entry(data)[0] + entry(data)[1] // 2, bytes(64)), "unpack|zeros|cut off"),
    ],
)
@pytest.mark.parametrize("maker", ["nvcc 13", "LZ4 of CUDA 12"])
def test_compressed_entries_are_unpacked(maker: str, change: Change, message: str) -> None:
    data = packed() if maker == "nvcc 13" else fatbin_of_cuda_12("-compress-all", (90,), ()).read_bytes()
    assert {code.problem for code in read_gpu(Elf.parse(data)).codes} == {""}
    found = [code.problem for code in read_gpu(Elf.parse(change(data))).codes]
    assert any(re.search(message, text) for text in found), found


@pytest.mark.parametrize(
    "arch",
    [
        *("90", "90a", "100f"),
        # A second of nvcc each.
        *(
            pytest.param(arch, marks=pytest.mark.slow)
            for arch in ("75", "80", "86", "89", "100", "100a", "103a", "120f")
        ),
    ],
)
def test_a_cubins_own_header(arch: str) -> None:
    data = nvcc_library(f"own{arch}", f"-gencode=arch=compute_{arch},code=sm_{arch}").read_bytes()
    gpu = read_gpu(Elf.parse(data))
    assert {(code.name, code.problem) for code in gpu.codes} == {(f"sm_{arch}", "")}


def test_an_emptied_container() -> None:
    found = containers(cuda_library("many").read_bytes())
    data = patch(right(), containers(right())[-1].offset + 8, bytes(8))
    assert len(found) == 2
    assert any("no fat binary" in text for text in wrong(rows(data)))


@pytest.mark.parametrize("change", [lambda data: data, without_sections], ids=["as it is", "no sections"])
def test_a_section_of_zeros(change: Change) -> None:
    section = Elf.parse(right()).section(".nv_fatbin")
    assert section
    data = change(patch(right(), section.offset, bytes(section.size)))
    found = wrong(rows(data, name="torch/lib/libtorch_cuda_linalg.so"))
    assert any("no fat binary" in text for text in found), found


def test_a_wrapper_that_leads_elsewhere() -> None:
    elf = Elf.parse(right())
    first, last = read_fatbins(elf)
    [segment] = [s for s in elf.segments if s.type == 1 and s.offset <= first.offset < s.offset + s.file_size]
    shift = segment.address - segment.offset
    addresses = [struct.pack("<Q", place + shift) for place in (last.offset, first.offset)]
    assert addresses[0] in right()
    found = wrong(rows(right().replace(addresses[0], addresses[1])))
    assert any("no wrapper leads to 1 of 2" in text for text in found), found
    nowhere = right().replace(addresses[0], struct.pack("<Q", last.offset + shift + 8))
    assert any("leads to no fat binary" in text for text in wrong(rows(nowhere)))


def test_a_table_of_constants() -> None:
    """Numbers that are a magic number by chance, and text that writes PTX, are no GPU code."""
    # The last two are of another version, and of another size.
    magic = (
        "{0xBA55ED50, 0x00100001, 64, 0, 0xBA55ED50, 1, 0xBA55ED50, 0, 0, 0, "
        "0xBA55ED50, 0x00100002, 0, 0, 0xBA55ED50, 0x00180001, 0, 0}"
    )
    source = (
        f"const unsigned table[] = {magic}; const unsigned wrapper = 0x466243B1;"
        'const char elf[] = "\\x7f" "ELF\\2\\1\\1"; const char ptx[] = ".version 8.0\\n.target sm_%d";'
        'const char only[] = "nothing\\n.target sm_90\\n"; unsigned writable[] = {0x466243B1, 9, 0, 0, 0};'
    )
    data = c_library(scratch() / "libconstants.so", source).read_bytes()
    assert data.count(struct.pack("<I", 0xBA55ED50)) == 5
    assert scan(Elf.parse(data)).containers == ()
    gpu = facts(data, "torch/lib/libtorch_cpu.so").gpu
    assert gpu.containers == ()
    assert gpu.damaged == ()


def test_a_damaged_fat_binary_is_none_by_chance() -> None:
    broken = patch(stray("fat binary"), 8, struct.pack("<Q", 1 << 40))
    data = c_library(scratch() / "libplain.so", "int x;").read_bytes() + broken
    assert any("the file has" in text for text in wrong(rows(data, "pytorch-cpu-avx2")))


def test_much_damage_ends_in_one_line() -> None:
    broken = patch(stray("fat binary"), 8, struct.pack("<Q", 1 << 40))[:64]
    data = c_library(scratch() / "libplain.so", "int x;").read_bytes() + broken * 200
    with pytest.raises(UserError, match="more than 100 damaged fat binaries"):
        read_gpu(Elf.parse(data))


def test_limits_are_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """As much as a limit is read; one more ends in one line."""
    fat, cubin, ptx = map(stray, ("fat binary", "cubin", "PTX"))
    for name, read, text in (
        ("_MOST_CONTAINERS", lambda: scan(Elf.parse(EMPTY + fat * 2)), "more than 1 fat binaries"),
        ("_MOST_LOOSE", lambda: scan(Elf.parse(EMPTY + cubin + ptx)), "more than 1 cubins and PTX texts"),
        (
            "_MOST_WRAPPERS",
            lambda: list(find_wrappers(Elf.parse(right()))),
            "more than 1 fat binary wrappers",
        ),
    ):
        monkeypatch.setattr(fatbin, name, 2)
        assert read()
        monkeypatch.setattr(fatbin, name, 1)
        with pytest.raises(UserError, match=text):
            read()


# An ELF file of its header alone.
EMPTY = b"\x7fELF\2\1".ljust(64, b"\0")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fat binary", "cubin", "PTX"]),
            st.one_of(st.integers(0, 40), st.integers(WINDOW - 400, WINDOW + 40)),
            st.sampled_from([b"\0", b"\x7f", b"\xba"]),
        ),
        max_size=5,
    )
)
def test_a_scan_finds_all_of_it(pieces: list[tuple[str, int, bytes]]) -> None:
    """Side by side, and across what is searched at a time."""
    data, fat, loose = EMPTY, [], []
    for kind, gap, filler in pieces:
        data += filler * gap
        if kind == "fat binary":
            fat.append(len(data))
        elif kind == "cubin":
            loose.append(("cubin", len(data)))
        else:
            loose.append(("ptx", len(data) + stray(kind).index(b".target sm_")))
        data += stray(kind)
    found = scan(Elf.parse(data))
    assert [container.offset for container in found.containers] == fat
    assert [(code.kind, code.offset) for code in found.loose] == loose
    assert found.damaged == ()


@given(
    st.lists(st.tuples(st.binary(min_size=1, max_size=20), st.integers(1, 400)), max_size=8),
    st.integers(0, 9000),
)
def test_the_begin_of_an_lz4_block(pieces: list[tuple[bytes, int]], size: int) -> None:
    data = b"".join(piece * times for piece, times in pieces)
    packed = lz4.block.compress(data, store_size=False)
    assert lz4_head(packed, size) == data[:size]
    assert unpack_lz4(memoryview(packed), len(data)) == data
    # One that is cut off: no more than what there is, or an error.
    with contextlib.suppress(PayloadError):
        assert data.startswith(lz4_head(packed[: len(packed) // 2], size))


def test_lz4_that_is_not_packed_or_damaged() -> None:
    plain = bytes(range(200))
    assert lz4_head(lz4.block.compress(plain, store_size=False), 10) == plain[:10]
    # After one byte, a copy of what stands no bytes before it, or two.
    for back in (0, 2):
        with pytest.raises(PayloadError, match="does not unpack"):
            lz4_head(bytes([0x10, 65, back, 0, 0]), 10)


def test_sizes_that_cannot_be() -> None:
    """They are refused before memory is taken for them."""
    ten = memoryview(bytes(10))
    check_size("lz4", ten, 10 * 255 + 64)
    check_size("", ten, 1 << 60)
    with pytest.raises(PayloadError, match="10 bytes that cannot be 2615"):
        check_size("lz4", ten, 10 * 255 + 65)
    frame = memoryview(zstandard.ZstdCompressor().compress(bytes(100)))
    check_size("zstd", frame, 100)
    with pytest.raises(PayloadError, match="100 bytes once unpacked in place of 99"):
        check_size("zstd", frame, 99)
    unsaid = memoryview(zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100)))
    check_size("zstd", unsaid, 99)
    with pytest.raises(PayloadError, match="100 bytes once unpacked in place of 101"):
        unpack_zstd(unsaid, 101)


@pytest.mark.parametrize(
    ("abi", "flags", "arch", "suffix"),
    [
        (7, 80, 80, ""),
        (7, 61, 61, ""),
        (7, 90 | 0x800, 90, "a"),
        (7, 90 | 0x008 << 8 | 90 << 16, 90, "a"),
        (8, 90 << 8 | 1, 90, None),
        (8, 100 << 8 | 8, 100, "a"),
        (9, 121 << 8, 121, None),
    ],
)
@pytest.mark.parametrize("type_", [1, 2])
def test_both_forms_of_a_cubins_header(type_: int, abi: int, flags: int, arch: int, suffix: str) -> None:
    """Of CUDA 12 and earlier, and of CUDA 13 and of later GPUs."""
    ident = (b"\x7fELF\2\1\1" + bytes([51, abi])).ljust(16, b"\0")
    data = HEADER.pack(ident, type_, 190, 1, 0, 0, 0, flags, 64, 56, 0, 64, 0, 0)
    assert cubin_target(data) == Target("cubin", arch, suffix, relocatable=type_ == 1)
    assert read_cubin(data) == Target("cubin", arch, suffix, relocatable=type_ == 1, functions=False)


def test_where_a_cubin_ends() -> None:
    cubin = stray("cubin")
    size = cubin_size(memoryview(cubin + bytes(100)))
    assert len(cubin) - 8 < size <= len(cubin)
    assert read_cubin(cubin[:size]).functions
    assert cubin_size(memoryview(cubin[:63])) == 0
    assert cubin_size(memoryview(patch(cubin, 0, b"\0"))) == 0
    for cut in (64, size // 2, size - 1, HEADER.unpack_from(cubin)[6] + 100):
        assert 0 < cubin_size(memoryview(cubin[:cut])) <= cut
        with pytest.raises(PayloadError, match="cut off"):
            read_cubin(cubin[:cut])
    # Where no sections are, it ends behind its program headers.
    bare = patch(cubin, 40, bytes(8))
    header = HEADER.unpack_from(bare)
    assert cubin_size(memoryview(bare)) == header[5] + header[10] * 56 > 64


@pytest.mark.parametrize(
    ("type_", "in_the_file"),
    [(1, True), (8, False), (0x5FFFFFFF, True), (0x60000000, False), (0x70000001, False)],
)
def test_sections_of_a_cubin_that_are_memory_alone(type_: int, in_the_file: bool) -> None:
    cubin = stray("cubin")
    elf = Elf.parse(cubin)
    last = max(elf.sections, key=lambda section: section.offset)
    place = elf.sections_offset + last.index * SECTION.size
    data = patch(patch(cubin, place + 4, struct.pack("<I", type_)), place + 32, struct.pack("<Q", 1 << 30))
    if in_the_file:
        with pytest.raises(PayloadError, match="cut off"):
            read_cubin(data)
        assert cubin_size(memoryview(data + bytes(100))) == len(data) + 100
    else:
        assert read_cubin(data) == read_cubin(cubin)
        assert cubin_size(memoryview(data)) <= cubin_size(memoryview(cubin))


def test_a_cubin_of_many_sections() -> None:
    """Their number stands in the first one's header."""
    cubin = stray("cubin")
    elf = Elf.parse(cubin)
    many = patch(patch(cubin, 60, bytes(2)), elf.sections_offset + 32, struct.pack("<Q", len(elf.sections)))
    assert read_cubin(many) == read_cubin(cubin)
    with pytest.raises(PayloadError, match="cut off"):
        read_cubin(many[: elf.sections_offset + 10])
    assert cubin_size(memoryview(many)) == cubin_size(memoryview(cubin))


@pytest.mark.parametrize("option", ["-compress=false", "-compress-all"])
@pytest.mark.parametrize("kind", ["cubin", "ptx"])
@pytest.mark.parametrize("cuda", [12, 13])
def test_of_much_code_the_begin_is_read(
    cuda: int, kind: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cuda == 12:
        path = fatbin_of_cuda_12(option, *(((90,), ()) if kind == "cubin" else ((), (90,))))
    else:
        code = "sm_90" if kind == "cubin" else "compute_90"
        how = ("--no-compress",) if option == "-compress=false" else ("-Xfatbin", "-compress-all")
        path = nvcc_library(f"much{kind}{option}", f"-gencode=arch=compute_90,code={code}", *how)
    data = path.read_bytes()
    elf = Elf.parse(data)
    last = read_fatbins(elf)[-1].entries[-1]
    start = last.offset + last.header_size
    broken = Elf.parse(patch(data, start, bytes(last.payload_size)))
    target, whole = read_payload(elf, last)
    assert (target.kind, target.arch, whole) == (kind, 90, True)
    for limit, all_of_it in ((last.unpacked_size, True), (last.unpacked_size - 1, False)):
        monkeypatch.setattr(fatbin, "MOST_UNPACKED", limit)
        assert read_payload(elf, last) == (target, all_of_it)
        with pytest.raises(PayloadError, match=r"no cubin|no PTX text|zeros|does not unpack"):
            read_payload(broken, last)


def test_wrappers_as_the_loader_sees_them() -> None:
    """It writes their addresses, and only into what is writable."""
    data = right()
    elf = Elf.parse(data)
    wrappers, offsets = read_wrappers(elf), [container.offset for container in containers(data)]
    expected = [(wrapper.offset, offset) for wrapper, offset in zip(wrappers, offsets, strict=True)]
    assert sorted(find_wrappers(elf)) == expected
    for wrapper in wrappers:
        data = patch(data, wrapper.pointer_offset, bytes(8))
    assert sorted(find_wrappers(Elf.parse(data))) == expected
    # Its relocation leads nowhere.
    code, table = elf.section(".nv_fatbin"), elf.section(".rela.dyn")
    assert code
    assert table
    place = data.index(struct.pack("<Q", code.address), table.offset)
    nowhere = Elf.parse(patch(data, place, struct.pack("<Q", 1 << 40)))
    assert sorted(find_wrappers(nowhere)) == [(expected[0][0], -1), expected[1]]
    # The same bytes, as constants.
    source = "const unsigned wrapper[6] = {0x466243B1, 1}; unsigned own[6] = {0x466243B1, 1};"
    constant = Elf.parse(c_library(scratch() / "libwrapper.so", source).read_bytes())
    assert len(list(find_wrappers(constant))) == 1


def test_containers_with_padding_between_them(tmp_path: Path) -> None:
    """A linker aligns what it puts together: zeros stand between the containers of two objects."""
    (tmp_path / "fat").write_bytes(stray("fat binary"))
    lines = ['.section .nv_fatbin,"a"']
    for _ in range(3):
        lines += [".balign 2048", f'.incbin "{tmp_path / "fat"}"']
    (tmp_path / "fat.s").write_text("\n".join(lines) + "\n")
    library = tmp_path / "lib.so"
    subprocess.run(["gcc", "-shared", "-nostdlib", tmp_path / "fat.s", "-o", library], check=True)
    elf = Elf.parse(library.read_bytes())
    found = read_fatbins(elf)
    size = found[0].size
    assert [container.offset - found[0].offset for container in found] == [
        0,
        -(-size // 2048) * 2048,
        2 * -(-size // 2048) * 2048,
    ]
    assert scan(elf).containers == found
    assert [c.number for c in read_gpu(elf).containers] == [0, 1, 2]


def test_bytes_between_containers_are_accounted_for() -> None:
    data = right()
    last = containers(data)[-1]
    # The container ends earlier than its entries do, by another payload size.
    shorter = patch(data, last.offset, bytes(CONTAINER.size))
    assert any("bytes of .nv_fatbin at" in text for text in facts(shorter).gpu.damaged)


def test_ptx_in_place_of_machine_code() -> None:
    data = nvcc_library("onlyptx", "-gencode=arch=compute_90,code=compute_90").read_bytes()
    assert any("no code for sm_90" in text for text in wrong(rows(data)))


def test_lto_ir_in_place_of_machine_code() -> None:
    """No GPU runs it: a device linker has to compile it first."""
    assert any("LTO_90" in text for text in wrong(rows(claim(kind=8)(right()))))


@pytest.mark.parametrize("variant", ["pytorch-bin-sm90", "pytorch-bin-sm80", "pytorch-bin-sm120"])
def test_what_retargeting_emptied_is_explained(variant: str, tmp_path: Path) -> None:
    """Of two libraries' containers one has code for sm_80 and sm_90a alone, as some of PyTorch's have."""
    target = int(variant.rpartition("sm")[2])
    source = nvcc_library(
        "twolibs",
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=sm_90",
        "-gencode=arch=compute_120,code=sm_120",
    )
    retarget_file(source, tmp_path / "lib.so", frozenset({target}))
    data = (tmp_path / "lib.so").read_bytes()
    assert wrong(rows(data, variant, Origin.WHEEL)) == []
    # Emptied by retargeting for another GPU: each container is as this one wants it, or is explained.
    other = 90 if target != 90 else 80
    retarget_file(source, tmp_path / "other.so", frozenset({other}))
    elf = Elf.parse(source.read_bytes())
    assert not cut_of(read_fatbins(elf), frozenset({other}), keep_ptx=False).says_something


def emptied() -> tuple[bytes, Cut]:
    """A library for sm_80 that has lost what was for sm_90a alone, and what retargeting says of it."""
    special = nvcc_library("special", "-gencode=arch=compute_90a,code=sm_90a")
    keep = frozenset({80})
    with tempfile.TemporaryDirectory(dir=scratch()) as directory:
        target = Path(directory) / "lib.so"
        retarget_file(special, target, keep)
        cut = cut_of(containers(special.read_bytes()), keep, keep_ptx=False)
        return target.read_bytes(), cut


def test_an_emptied_container_needs_an_explanation() -> None:
    data, cut = emptied()
    assert [container.entries for container in containers(data)] == [(), ()]
    assert dict(cut.emptied) == {0: ("sm_90a",), 1: ("sm_90a",)}
    name, variant = "torch/lib/libtorch_nvshmem.so", "pytorch-bin-sm80"

    def of(cut: Cut | None) -> list[Finding]:
        cuts = {name: cut} if cut else None
        libraries = [facts(data, name)]
        return list(check_gpu(libraries, parse_name(variant), Origin.WHEEL, cuts))

    assert any("nothing in 2 of 2" in row.detail for row in of(None) if row.status == "wrong")
    assert not [row for row in of(cut) if row.status == "wrong" and row.check != "CUDA build"]
    # An explanation that names what this GPU would have run, or another number of containers, is none.
    lying = Cut(2, {0: ("sm_80",), 1: ("sm_90a",)})
    assert any("nothing in 1 of 2" in row.detail for row in of(lying) if row.status == "wrong")
    assert any("retargeting left 3" in row.detail for row in of(Cut(3, cut.emptied)) if row.status == "wrong")


def test_two_retargetings_one_after_the_other() -> None:
    first = Cut(3, {0: ("sm_90a",)}, {1: ("sm_70",)})
    second = Cut(3, {1: (), 2: ("sm_80",)})
    assert merged(first, second) == Cut(3, {0: ("sm_90a",), 1: ("sm_70",), 2: ("sm_80",)})
    assert merged(None, second) == second
    assert merged(Cut(4, {0: ("sm_90a",)}), second) == second


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"schema": 1}', '{"schema": 1, "libraries": {"a": {"containers": "x"}}}', "{" * 9999],
)
def test_explanations_that_are_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "retargeted.json").write_text(text)
    with pytest.raises(UserError, match="not what retarget writes") as caught:
        cuts_of(tmp_path, ["torch"])
    assert "\n" not in str(caught.value)


def test_an_official_wheel_under_its_own_name() -> None:
    """As it comes: code for all of its GPUs, and a little for others in single containers."""
    from pytorch_variants.hardware.spelling import parse_gpu

    one = parse_name("pytorch-bin-sm90")
    all_of = replace(one, gpus=tuple(parse_gpu(name) for name in ("sm75", "sm80", "sm90", "sm120")))
    some = replace(one, gpus=tuple(parse_gpu(name) for name in ("sm80", "sm90")))
    more = replace(one, gpus=tuple(parse_gpu(name) for name in ("sm75", "sm80", "sm90", "sm100", "sm120")))
    library = facts(cuda_library("many").read_bytes())
    for variant, expected in ((all_of, []), (some, ["extra"]), (more, ["missing"]), (one, ["extra"])):
        found = [r.kind for r in check_gpu([library], variant, Origin.WHEEL) if r.status == "wrong"]
        assert found == expected


@pytest.mark.parametrize(
    ("codes", "kinds"),
    [
        (("compute_90,code=sm_90",), []),
        (("compute_80,code=sm_80", "compute_90,code=sm_90"), ["extra"]),
        (("compute_90,code=[sm_90,compute_90]",), ["ptx"]),
        (("compute_80,code=sm_80",), ["missing"]),
    ],
)
@pytest.mark.parametrize("origin", [Origin.SOURCE, Origin.WHEEL])
def test_a_companion_is_for_what_the_name_says(
    origin: Origin, codes: tuple[str, ...], kinds: list[str]
) -> None:
    options = [f"-gencode=arch={code}" for code in codes]
    data = nvcc_library("companion" + "".join(re.findall(r"\w+", " ".join(codes))), *options).read_bytes()
    found = rows(data, "pytorch-sm90-avx512", origin, name="my_ops/_C.so", role="companion")
    assert [row.kind for row in found if row.status == "wrong"] == kinds
    assert {row.subject for row in found if row.kind} <= {"my_ops/_C.so"}


@pytest.mark.parametrize(
    ("path", "package", "called"),
    [
        ("my_ops/_C.so", "my_ops", "my_ops/_C.so"),
        ("plugin.abi3.so", "plugin", "plugin.abi3.so"),
        ("/opt/plugin.so", "plugin.so", "plugin.so"),
    ],
)
def test_what_a_library_is_called(path: str, package: str, called: str) -> None:
    """By its package, if it is in one."""
    other = replace(facts(cuda_library("many").read_bytes(), path, "companion"), package=package)
    found = check_gpu([facts(right()), other], parse_name("pytorch-sm90-avx512"), Origin.WHEEL)
    assert {row.subject for row in found if row.status == "wrong"} == {called}
