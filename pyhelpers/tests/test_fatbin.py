import struct
import subprocess
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from binaries import LIBRARIES, contents, cubins, cuda_library, cuobjdump, fatbin_of_cuda_12, ptx, tool
from hypothesis import given
from hypothesis import strategies as st

from pytorch_variants.binary.elf import (
    Elf,
    open_elf,
)
from pytorch_variants.binary.fatbin import (
    FatbinError,
    find_wrappers,
    read_fatbins,
    read_wrappers,
    scan,
)
from pytorch_variants.binary.registration import Whose, whose_containers
from pytorch_variants.errors import UserError
from pytorch_variants.verify.gpu import read_gpu

ALL = [f"cubin sm_{arch}" for arch in (75, 80, 90, 120)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        # Without -rdc nvcc links an extra container, of the CUDA runtime's device code, in front.
        ("many", [ALL, ALL]),
        ("compressed", [ALL, ALL]),
        ("uncompressed", [ALL, ALL]),
        ("relocatable", [ALL]),
        ("suffixes", [["cubin sm_80", "cubin sm_90a", "cubin sm_100f", "cubin sm_120"]] * 2),
        ("ptx", [[], ["ptx sm_90"]]),
    ],
)
def test_contents(name: str, expected: list[list[str]]) -> None:
    found = contents(cuda_library(name))
    if name == "suffixes":
        expected = [expected[0], [*expected[1], "ptx sm_120"]]
    assert found == expected


@pytest.mark.parametrize("name", LIBRARIES)
def test_agrees_with_cuobjdump(name: str) -> None:
    assert cubins(cuda_library(name)) == cuobjdump(cuda_library(name))
    assert ptx(cuda_library(name)) == cuobjdump(cuda_library(name), "ptx")


@pytest.mark.parametrize("option", ["-compress=false", "-compress=true", "-compress-all"])
@pytest.mark.parametrize(("cubins_of", "ptx_of"), [((75, 80, 90, 120), ()), ((80, 90), (90,)), ((), (90,))])
def test_fat_binaries_of_cuda_12(option: str, cubins_of: tuple[int, ...], ptx_of: tuple[int, ...]) -> None:
    path = fatbin_of_cuda_12(option, cubins_of, ptx_of)
    expected = [*(f"cubin sm_{arch}" for arch in cubins_of), *(f"ptx sm_{arch}" for arch in ptx_of)]
    assert contents(path) == [expected]
    assert cubins(path) == cuobjdump(path)
    assert ptx(path) == cuobjdump(path, "ptx")


def test_compression() -> None:
    def flags(name: str) -> set[bool]:
        with open_elf(cuda_library(name)) as elf:
            return {entry.compressed for container in read_fatbins(elf) for entry in container.entries}

    assert flags("compressed") == {True}
    assert flags("uncompressed") == {False}


def test_an_uncompressed_cubin_is_an_elf_file() -> None:
    with open_elf(cuda_library("uncompressed")) as elf:
        for container in read_fatbins(elf):
            for entry in container.entries:
                start = entry.offset + entry.header_size
                cubin = Elf.parse(elf.data[start : start + entry.payload_size])
                assert cubin.machine == "CUDA"


def test_sizes_add_up() -> None:
    with open_elf(cuda_library("suffixes")) as elf:
        containers = read_fatbins(elf)
        for container in containers:
            assert container.payload_size == sum(entry.size for entry in container.entries)
        section = elf.section(".nv_fatbin")
        assert section
        assert section.size == sum(container.size for container in containers)
        headers = sum(container.header_size for container in containers)
        entries = [entry for container in containers for entry in container.entries]
        assert sum(entry.size for entry in entries) == section.size - headers
        assert {(entry.kind, entry.sm) for entry in entries} == {
            *(("cubin", sm) for sm in ("sm_80", "sm_90a", "sm_100f", "sm_120")),
            ("ptx", "sm_120"),
        }


def test_every_container_has_a_wrapper() -> None:
    with open_elf(cuda_library("many")) as elf:
        section = elf.section(".nv_fatbin")
        assert section
        starts = {c.offset - section.offset + section.address for c in read_fatbins(elf)}
        assert len(read_wrappers(elf)) == len(starts)


def test_a_file_without_gpu_code() -> None:
    with open_elf(Path("/bin/sh").resolve()) as elf:
        assert read_fatbins(elf) == ()
        assert read_wrappers(elf) == ()


# Places within the section: the first container, and its first entry.
CONTAINER, ENTRY = 0, 16


@pytest.mark.parametrize(
    ("offset", "data", "message"),
    [
        (CONTAINER, b"\1\0\0\0", "magic number is 0x00000001"),
        (CONTAINER, bytes(8192), "magic number is 0x00000000"),
        (CONTAINER + 6, b"\4\0", "has 4 \\+ "),
        (CONTAINER + 8, struct.pack("<Q", 1 << 40), "its section has"),
        (CONTAINER + 8, struct.pack("<Q", 72), "has 64 \\+ "),
        (CONTAINER + 8, struct.pack("<Q", 16), "is cut off"),
        (ENTRY, b"\x63\0", "unknown kind 99"),
        (ENTRY + 4, struct.pack("<I", 8), "has 8 \\+ "),
        (ENTRY + 8, struct.pack("<Q", (1 << 64) - 1), "its container has"),
        (ENTRY + 16, struct.pack("<I20xQ", 1 << 30, 0x2000), "has 1073741824 compressed bytes in"),
        (ENTRY + 40, struct.pack("<Q", 0x2000 | 0x8000), "compressed in two ways"),
    ],
)
def test_bad_fat_binaries(offset: int, data: bytes, message: str) -> None:
    damaged = bytearray(cuda_library("many").read_bytes())
    section = Elf.parse(bytes(damaged)).section(".nv_fatbin")
    assert section
    place = section.offset + offset
    damaged[place : place + len(data)] = data
    with pytest.raises(FatbinError, match=message) as caught:
        read_fatbins(Elf.parse(bytes(damaged)))
    assert "at 0x" in str(caught.value)
    assert "\n" not in str(caught.value)


def resized(name: str, size: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        elf = Elf.parse(data)
        section = elf.section(name)
        assert section
        place = elf.sections_offset + section.index * 64 + 32
        return data[:place] + struct.pack("<Q", size) + data[place + 8 :]

    return change


def test_a_section_that_ends_within_a_container() -> None:
    with pytest.raises(FatbinError, match="its section has"):
        read_fatbins(Elf.parse(resized(".nv_fatbin", 100)(cuda_library("many").read_bytes())))


def test_bad_wrappers() -> None:
    data = cuda_library("many").read_bytes()
    with pytest.raises(FatbinError, match="not a multiple of 24"):
        read_wrappers(Elf.parse(resized(".nvFatBinSegment", 20)(data)))
    section = Elf.parse(data).section(".nvFatBinSegment")
    assert section
    with pytest.raises(FatbinError, match="no fat binary wrapper"):
        read_wrappers(Elf.parse(data[: section.offset] + b"\0" + data[section.offset + 1 :]))


def test_debug_symbols_alone(tmp_path: Path) -> None:
    # As objcopy --only-keep-debug leaves it: the section's header without its bytes.
    data = bytearray(cuda_library("many").read_bytes())
    elf = Elf.parse(bytes(data))
    section = elf.section(".nv_fatbin")
    assert section
    place = elf.sections_offset + section.index * 64
    data[place + 4 : place + 8] = struct.pack("<I", 8)
    data[place + 32 : place + 40] = struct.pack("<Q", 1 << 50)
    assert read_fatbins(Elf.parse(bytes(data))) == ()


# As nvcc's host code is on Arm: the wrapper's and the kernel's addresses are loaded by two instructions each.
ARM_HOST = """
asm(".section .nv_fatbin,\\"a\\"\\n.balign 8\\n"
    "first: .incbin \\"%(container)s\\"\\n"
    "second: .incbin \\"%(container)s\\"\\n"
    "third: .incbin \\"%(container)s\\"\\n"
    ".previous");
extern const char first[], second[], third[];
void *registered[9];
struct wrapper { int magic, version; const void *container; void *more; };
#define WRAPPER __attribute__((section(".nvFatBinSegment"), visibility("hidden")))
WRAPPER struct wrapper a = {0x466243b1, 1, first}, b = {0x466243b1, 1, second}, c = {0x466243b1, 2, third};
#define OWN __attribute__((noinline, used, visibility("hidden"))) void
OWN take(const void *wrapper, const char *kernel, int place) {
  registered[place] = (void *)wrapper;
  registered[place + 1] = (void *)kernel;
}
OWN _ZL31__nv_cudaEntityRegisterCallbackPPv(void) { take(0, "_ZN2at4geluEPf", 2); }
OWN _ZL24__sti____cudaRegisterAllv(void) {
  take(&a, 0, 0);
  registered[4] = (void *)_ZL31__nv_cudaEntityRegisterCallbackPPv;
}
OWN _ZL25__sti____cudaRegisterAllv(void) { take(&b, "_Z23ncclDevKernel_BroadcastPf", 0); }
OWN _ZL40__cudaRegisterLinkedBinary_xPv(void) { take(&c, 0, 6); }
"""


def test_whose_kernels_on_arm(tmp_path: Path) -> None:
    with open_elf(cuda_library("many")) as elf:
        container = read_fatbins(elf)[-1]
        data = bytes(elf.data[container.offset : container.offset + container.size])
    (tmp_path / "container").write_bytes(data)
    path = tmp_path / "libarm.so"
    # Of separate objects none is found by where another's wrapper is.
    options = [
        "-O2",
        "-fno-section-anchors",
        "-fPIC",
        "-shared",
        "-nostdlib",
        "-x",
        "c",
        "-",
        "-o",
        str(path),
    ]
    source = ARM_HOST % {"container": tmp_path / "container"}
    subprocess.run([tool("aarch64-linux-gnu-gcc"), *options], input=source.encode(), check=True)
    with open_elf(path) as elf:
        found = whose_containers(elf)
        assert [found[place.offset] for place in read_fatbins(elf)] == [
            Whose.PYTORCH,
            Whose.NCCL,
            Whose.JOINED,
        ]


READERS: tuple[Callable[[Elf], object], ...] = (
    read_fatbins,
    read_wrappers,
    scan,
    lambda elf: list(find_wrappers(elf)),
    whose_containers,
    read_gpu,
)


@given(st.data())
def test_any_damage(data: st.DataObject) -> None:
    damaged = bytearray(cuda_library("many").read_bytes())
    elf = Elf.parse(bytes(damaged))
    areas = [elf.section(".nv_fatbin"), elf.section(".nvFatBinSegment")]
    ranges = [st.integers(area.offset, area.offset + area.size - 8) for area in areas if area]
    headers = [st.integers(area.offset, area.offset + 100) for area in areas if area]
    tables = st.integers(elf.sections_offset, len(damaged) - 8)
    for place in data.draw(st.lists(st.one_of(*ranges, *headers, tables), min_size=1, max_size=6)):
        value = data.draw(st.binary(min_size=1, max_size=8))
        damaged[place : place + len(value)] = value
    for read in READERS:
        try:
            read(Elf.parse(bytes(damaged)))
        except UserError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("read", READERS)
def test_no_copy_of_the_file_is_made(read: Callable[[Elf], object], official_libraries: Path) -> None:
    """A gigabyte of library, a few megabytes of memory."""
    path = official_libraries / "libtorch_cuda.so"
    assert path.stat().st_size > 1e9
    tracemalloc.start()
    with open_elf(path) as elf:
        read(elf)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # This one unpacks the code, one payload at a time.
    assert peak < (100e6 if read is read_gpu else 50e6)
