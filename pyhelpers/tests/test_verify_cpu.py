"""Which instructions a build has: small libraries like PyTorch's, compiled for real."""

import re
import struct
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from binaries import scratch, tool

from pytorch_variants.binary.elf import HEADER, open_elf
from pytorch_variants.findings import Finding, Origin
from pytorch_variants.hardware.spelling import parse_cpu
from pytorch_variants.hardware.table import Cpu, cpus
from pytorch_variants.names.variant import parse_name
from pytorch_variants.verify.cpu import CpuFacts, check_cpu
from pytorch_variants.verify.facts import Candidate, LibraryFacts, Role
from pytorch_variants.verify.static import read_library

# What PyTorch exports: plain loops. Its kernels for later CPUs are compiled with flags of their own, in
# namespaces of their own, and chosen at run time. GCC 12 writes vpermw for a reversed copy of 16-bit numbers.
PLAIN = """
namespace c10 {
float dot(const float *a, const float *b, int n) {
  float sum = 0;
  for (int i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}
void add(int *__restrict a, const int *__restrict b, unsigned long n) {
  for (unsigned long i = 0; i < n; i++) a[i] += b[i];
}
void reverse(short *__restrict a, const short *__restrict b, unsigned long n) {
  for (unsigned long i = 0; i < n; i++) a[i] = b[n - 1 - i];
}
struct Shape { long sizes[16]; };
Shape copy(const Shape *shape) { return *shape; }
int first(unsigned long x) { return __builtin_ctzl(x); }
}
namespace at { double scale(double x, double y) { return x * y + 1; } }
"""
# A kernel, its declaration and what chooses it: 0 is where the CPU is asked.
KERNEL = """
namespace at { namespace native { namespace PLACE {
typedef float Sixteen __attribute__((vector_size(64), aligned(4), may_alias));
LINKAGE void kernel(float *x) { *reinterpret_cast<Sixteen *>(x) += 1; }
} } }
"""
CHOICE = """
namespace at {
int choose() { __builtin_cpu_init(); return __builtin_cpu_supports("avx512f") ? 2 : 1; }
}
"""
AVX512 = ("-mavx512f",)
X86 = [cpu for cpu in cpus().values() if cpu.platforms == ("x86_64-linux",)]
Part = tuple[str, Sequence[str]]


def kernel(place: str, linkage: str = "") -> str:
    return KERNEL.replace("PLACE", place).replace("LINKAGE", linkage)


@cache
def compiled(name: str, source: str, flags: tuple[str, ...]) -> Path:
    """An object file, whose name is that of its source, as in a build; many tests take the same."""
    text = Path(tempfile.mkdtemp(dir=scratch()), name)
    text.write_text(source)
    target = text.with_suffix(".o")
    command = [str(tool("g++")), "-O3", "-fPIC", "-c", str(text), "-o", str(target), *flags]
    subprocess.run(command, check=True)
    return target


def library(directory: Path, *parts: Part, name: str = "libc10.so", options: Sequence[str] = ()) -> Path:
    """A library of parts that have compiler flags of their own, as the linker leaves it."""
    objects = [
        compiled(f"part{number}.cpp", source, tuple(flags)) for number, (source, flags) in enumerate(parts)
    ]
    path = directory / name
    subprocess.run([tool("g++"), "-shared", "-o", path, *objects, *options], check=True)
    return path


def facts(path: Path, role: Role = "torch") -> LibraryFacts:
    read = read_library(Candidate(path, path.name, role, "torch"))
    assert read.error is None
    return read


def rows(paths: Sequence[LibraryFacts], cpu: str, origin: Origin = Origin.SOURCE) -> list[Finding]:
    return list(check_cpu(paths, parse_name(f"pytorch-cpu-{cpu}"), origin))


def wrong(path: Path, cpu: str, origin: Origin = Origin.SOURCE) -> list[Finding]:
    return [row for row in rows([facts(path)], cpu, origin) if row.status == "wrong"]


def flags(cpu: Cpu) -> tuple[str, ...]:
    return (*cpu.flags, *cpu.disable)


def recorded(cpu: str) -> tuple[str, ...]:
    return (*flags(parse_cpu(cpu)), "-frecord-gcc-switches")


@pytest.mark.parametrize("cpu", X86, ids=lambda cpu: cpu.name)
@pytest.mark.parametrize("options", [(), ("-s",)], ids=["", "stripped"])
def test_a_build_for_each_set_passes(cpu: Cpu, options: Sequence[str], tmp_path: Path) -> None:
    """With a kernel for a later CPU beside it, as PyTorch has them."""
    plain = (PLAIN + CHOICE, recorded(cpu.name))
    path = library(tmp_path, plain, (kernel("AVX512"), (*recorded(cpu.name), *AVX512)), options=options)
    found = rows([facts(path)], cpu.name)
    assert [row for row in found if row.status == "wrong"] == []
    [options_row] = [row for row in found if row.check == "compiler options"]
    assert options_row.status == "ok"


@pytest.mark.parametrize(
    ("built", "named", "feature"),
    [
        ("avx512", "avx2", "avx512f"),
        ("avx512", "x86-64-v3", "avx512bw"),
        ("avx512", "avx", "avx512f"),
        ("avx2", "avx", "avx2"),
        ("avx2", "avx", "fma"),
    ],
)
def test_more_than_the_set(built: str, named: str, feature: str, tmp_path: Path) -> None:
    [row] = wrong(library(tmp_path, (PLAIN, flags(parse_cpu(built)))), named)
    assert (row.check, row.where) == ("instructions", "libc10.so")
    assert feature in row.found
    assert re.search(r"functions? with \w+: \w+ at 0x[0-9a-f]+ in _ZN", row.detail)


def test_a_set_without_vbmi_may_reverse_16_bit_numbers(tmp_path: Path) -> None:
    path = library(tmp_path, (PLAIN, flags(parse_cpu("avx512"))))
    dump = subprocess.check_output([tool("objdump"), "-d", path], text=True)
    assert "vpermw" in dump
    assert wrong(path, "avx512") == []


@pytest.mark.parametrize("named", ["avx", "avx2", "x86-64-v3", "avx512", "x86-64-v4", "amx"])
def test_flags_that_did_not_reach_the_objects(named: str, tmp_path: Path) -> None:
    [row] = wrong(library(tmp_path, (PLAIN, ())), named)
    assert row.check == "instruction set in use"
    assert "avx" not in row.found


# Where code hides that nothing chooses, in a library that never asks the CPU.
HIDDEN = {
    "a namespace": (kernel("fast"), ()),
    "the set's name alone": (kernel("AVX512"), ()),
    "another namespace": (kernel("fast").replace("namespace at ", "namespace vision "), ()),
    "C": (
        f'extern "C" {{ {kernel("x").replace("namespace at { namespace native { namespace x {", "")[:-6]} }}',
        (),
    ),
    "behind a pointer": (kernel("fast", "static") + "void (*table)(float *) = at::native::fast::kernel;", ()),
    "not exported": (kernel("fast"), ("-fvisibility=hidden",)),
}


@pytest.mark.parametrize("place", HIDDEN)
@pytest.mark.parametrize("options", [(), ("-s",)], ids=["", "stripped"])
def test_code_for_a_later_cpu_that_nothing_chooses(
    place: str, options: Sequence[str], tmp_path: Path
) -> None:
    source, extra = HIDDEN[place]
    hidden = (source, (*AVX512, *extra))
    path = library(tmp_path, (PLAIN, recorded("avx2")), hidden, name="libtorch_python.so", options=options)
    for origin in Origin:
        [row] = [row for row in wrong(path, "avx2", origin) if row.check == "instructions"]
        assert row.found == ("avx512f",)


def test_where_the_cpu_is_asked_names_decide(tmp_path: Path) -> None:
    for place, count in {"AVX512": 0, "CPU_CAPABILITY_AVX512": 0, "fast": 1, "frozen": 1}.items():
        directory = tmp_path / place
        directory.mkdir()
        path = library(directory, (PLAIN + CHOICE, recorded("avx2")), (kernel(place), (*AVX512, "-mavx2")))
        assert facts(path).cpu.asks
        found = [row.found for row in wrong(path, "avx2") if row.check == "instructions"]
        assert found == [("avx512f",)] * count, place


def test_an_object_file_of_that_name_is_chosen(tmp_path: Path) -> None:
    """PyTorch compiles one source several times; what is local is known by its file's name."""
    source = kernel("fast", "static") + "namespace at { void (*table)(float *) = native::fast::kernel; }"
    for name, count in {"CopyKernel.cpp.AVX512.cpp": 0, "CopyKernel.cpp.DEFAULT.cpp": 1}.items():
        directory = tmp_path / name
        directory.mkdir()
        target = compiled(name, source, AVX512)
        path = library(directory, (PLAIN + CHOICE, flags(parse_cpu("avx2"))), options=[str(target)])
        assert len(wrong(path, "avx2")) == count, name


def test_an_instance_that_the_linker_took_from_elsewhere(tmp_path: Path) -> None:
    """A single template's instance is a note: PyTorch's own build has one."""
    instance = """
    namespace c10 { template <class T> __attribute__((noinline)) void convert(T *x) {
      typedef T Sixteen __attribute__((vector_size(64), aligned(4), may_alias));
      *reinterpret_cast<Sixteen *>(x) += 1; }
    template void convert<float>(float *); }
    """
    parts = ((PLAIN + CHOICE, flags(parse_cpu("avx2"))), (instance, (*AVX512, "-fvisibility=hidden")))
    path = library(tmp_path, *parts)
    found = [row for row in rows([facts(path)], "avx2") if row.check == "instructions"]
    assert (found[0].status, found[0].found) == ("note", ("avx512f",))
    assert wrong(path, "avx2") == []


def without_section_headers(path: Path) -> None:
    data = bytearray(path.read_bytes())
    header = list(HEADER.unpack_from(data))
    # Offset, number of headers, and where the names are.
    header[6] = header[12] = header[13] = 0
    HEADER.pack_into(data, 0, *header)
    path.write_bytes(data)


def test_without_section_headers(tmp_path: Path) -> None:
    path = library(tmp_path, (PLAIN, flags(parse_cpu("avx2"))), (kernel("fast"), AVX512), options=("-s",))
    before = facts(path).cpu
    without_section_headers(path)
    after = facts(path).cpu
    assert abs(after.functions - before.functions) < 8
    [row] = [row for row in wrong(path, "avx2") if row.check == "instructions"]
    assert row.found == ("avx512f",)
    # By the loader's own tables.
    assert row.detail.endswith(" in _ZN2at6native4fast6kernelEPf")


ODD = 'asm(".globl odd; .type odd, @function; odd: CODE; .size odd, .-odd");'


def test_an_odd_byte_ends_nothing(tmp_path: Path) -> None:
    odd = ODD.replace("CODE", ".byte 0x06; vaddps %zmm1, %zmm2, %zmm3; ret")
    path = library(tmp_path, (PLAIN, flags(parse_cpu("avx2"))), (odd, AVX512))
    assert [row.found for row in wrong(path, "avx2")] == [("avx512f",)]


def test_bytes_that_are_no_code(tmp_path: Path) -> None:
    odd = ODD.replace("CODE", ".fill 2000, 1, 0x06")
    path = library(tmp_path, (PLAIN, flags(parse_cpu("avx2"))), (odd, ()))
    [row] = wrong(path, "avx2")
    assert (row.check, row.expected) == ("instructions", ("machine code",))
    assert row.detail.startswith("2000 of ")


CONSTANTS = """
asm(".section .rodata\\n.globl named\\n.type named, @object\\n.size named, 8\\nnamed: .zero 8\\n"
    ".rept 64\\n.byte 0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1, 0xc3, 0x90\\n.endr\\n.previous");
"""


def test_constants_that_are_mapped_executable(tmp_path: Path) -> None:
    """As older linkers do, behind all code: by chance they are instructions of a later CPU."""
    parts = (PLAIN, recorded("avx2")), (CONSTANTS, recorded("avx2"))
    path = library(tmp_path, *parts, options=("-Wl,-z,noseparate-code", "-s"))
    place = path.read_bytes().index(bytes((0x62, 0xF1, 0x7C, 0x48, 0x58, 0xC1, 0xC3)))
    with open_elf(path) as elf:
        assert any(s.flags & 1 and s.offset <= place < s.offset + s.file_size for s in elf.segments)
    assert wrong(path, "avx2") == []


def test_far_behind_in_a_function(tmp_path: Path) -> None:
    code = ".fill 300000, 4, 0x00401f0f; vaddps %zmm1, %zmm2, %zmm3; ret"
    path = library(tmp_path, (PLAIN, flags(parse_cpu("avx2"))), (ODD.replace("CODE", code), AVX512))
    assert [row.found for row in wrong(path, "avx2")] == [("avx512f",)]


def test_what_is_called_is_code(tmp_path: Path) -> None:
    """Wherever it lies; and what a symbol calls data, and nobody calls, is none."""
    table = 'asm(".type t, @object; t: .byte 0x62,0xf1,0x6c,0x48,0x58,0xd9,0xc3; .size t, .-t");'
    call = 'extern "C" void t() __attribute__((visibility("hidden"))); namespace at { void f() { t(); } }'
    for source, count in ((table, 0), (table + call, 1)):
        directory = tmp_path / str(count)
        directory.mkdir()
        path = library(directory, (PLAIN, flags(parse_cpu("avx2"))), (source, ("-O1",)))
        assert [row.found for row in wrong(path, "avx2")] == [("avx512f",)] * count
    parts = (
        (PLAIN, flags(parse_cpu("avx2"))),
        (table.replace('asm("', 'asm(".section .rodata; ') + call, ()),
    )
    path = library(tmp_path, *parts, options=["-Wl,-z,noseparate-code"])
    assert [row.found for row in wrong(path, "avx2")] == [("avx512f",)]


def test_a_constructor_of_a_library_that_asks(tmp_path: Path) -> None:
    source = (
        'static void __attribute__((constructor)) start() { asm volatile("vaddps %zmm1, %zmm2, %zmm3"); }'
    )
    parts = ((PLAIN + CHOICE, flags(parse_cpu("avx2"))), (f'extern "C" {{ {source} }}', AVX512))
    assert [row.found for row in wrong(library(tmp_path, *parts), "avx2")] == [("avx512f",)]


@pytest.mark.parametrize(
    ("instruction", "feature"),
    [
        ("vfmaddps %xmm1, %xmm2, %xmm3, %xmm4", "fma4"),
        ("vpcomltb %xmm1, %xmm2, %xmm3", "xop"),
        ("sha256rnds2 %xmm1, %xmm2", "sha_ni"),
        ("adcx %rax, %rbx", "adx"),
        ("vaesenc %ymm1, %ymm2, %ymm3", "vaes"),
        ("vgf2p8mulb %ymm1, %ymm2, %ymm3", "gfni"),
        ("vp2intersectd %zmm1, %zmm2, %k0", "avx512_vp2intersect"),
        ("vaddph %zmm1, %zmm2, %zmm3", "avx512_fp16"),
        ("tdpbf16ps %tmm0, %tmm1, %tmm2", "amx_bf16"),
        ("{vex} vpdpbusd %ymm1, %ymm2, %ymm3", "avx_vnni"),
    ],
)
def test_rare_sets(instruction: str, feature: str, tmp_path: Path) -> None:
    """Found by the search, wherever they are: 3000 functions are more than the sample has."""
    many = "".join(f'extern "C" int f{n}(int x) {{ return x * {n}; }}\n' for n in range(3000))
    rare = f'extern "C" void rare() {{ asm volatile("{instruction}"); }}'
    path = library(tmp_path, (PLAIN, flags(parse_cpu("avx2"))), (many, ("-O1",)), (rare, ()))
    read = facts(path)
    assert read.cpu.sampled < read.cpu.functions
    assert feature in {need.feature for need in read.cpu.needs}
    [row] = [row for row in wrong(path, "avx2") if row.check == "instructions"]
    assert feature in row.found


def test_one_function_is_not_a_set_in_use(tmp_path: Path) -> None:
    many = "".join(
        f"namespace at {{ double f{n}(double x) {{ return x * {n} + 1; }} }}\n" for n in range(400)
    )
    parts = ((many, flags(parse_cpu("avx2"))), (kernel("fast"), AVX512))
    found = wrong(library(tmp_path, *parts), "avx512")
    assert [row.check for row in found] == ["instruction set in use"]
    assert wrong(library(tmp_path, (many, flags(parse_cpu("avx2")))), "avx2") == []


def test_half_of_the_objects_without_the_flags(tmp_path: Path) -> None:
    def many(prefix: str) -> str:
        lines = (f"double {prefix}{n}(double x) {{ return x * {n} + 1; }}\n" for n in range(100))
        return f"namespace at {{ {''.join(lines)} }}"

    path = library(tmp_path, (PLAIN + many("a"), flags(parse_cpu("avx2"))), (many("b"), ()))
    [row] = wrong(path, "avx2")
    assert (row.check, row.where) == ("instruction set in use", "libc10.so")
    assert "encoded as before AVX" in row.detail


def test_recorded_options(tmp_path: Path) -> None:
    directories = [tmp_path / name for name in ("without", "later", "all")]
    for directory in directories:
        directory.mkdir()
    without, later, all_later = directories
    record = ("-frecord-gcc-switches",)
    found = wrong(library(without, (PLAIN, recorded("avx2")), (CHOICE, record)), "avx2")
    assert [(row.check, row.detail) for row in found] == [("compiler options", "without -mavx2 -mfma -mf16c")]
    # Code for a later CPU in a library that never asks, even if no instruction shows it.
    parts = ((PLAIN, recorded("avx2")), ("int answer() { return 42; }", (*recorded("avx2"), *AVX512)))
    [row] = wrong(library(later, *parts), "avx2")
    assert row.check == "compiler options"
    assert "-mavx512f" in row.found
    # Nothing has the variant's options alone.
    part = (PLAIN + CHOICE, (*recorded("avx2"), *AVX512))
    assert "compiler options" in {row.check for row in wrong(library(all_later, part), "avx2")}


@pytest.mark.parametrize(("choice", "count"), [(CHOICE, 0), ("", 1)], ids=["asks", "never asks"])
def test_a_kernel_with_an_architecture_of_its_own(choice: str, count: int, tmp_path: Path) -> None:
    """GCC records the last -march= alone."""
    record = (*recorded("x86-64-v3"), "-march=skylake-avx512")
    path = library(tmp_path, (PLAIN + choice, recorded("x86-64-v3")), ("int answer() { return 42; }", record))
    assert [row.check for row in wrong(path, "x86-64-v3")] == ["compiler options"] * count


def test_nothing_recorded_is_said(tmp_path: Path) -> None:
    path = library(tmp_path, (PLAIN, flags(parse_cpu("avx2"))))
    [row] = [row for row in rows([facts(path)], "avx2") if row.check == "compiler options"]
    assert (row.status, row.found) == ("note", ("none recorded",))


def test_an_official_build_is_not_asked_for_the_set(tmp_path: Path) -> None:
    path = library(tmp_path, (PLAIN, ()))
    assert wrong(path, "avx512", Origin.WHEEL) == []
    [row] = rows([facts(path)], "avx512", Origin.WHEEL)
    assert row.status == "ok"
    assert set(row.found) == {"sse", "sse2"}


def test_nothing_to_look_at() -> None:
    empty = LibraryFacts(Path("libc10.so"), "libc10.so", "torch", "torch")
    assert [row.found for row in rows([empty], "avx2")] == [("no function to look at",)]


@pytest.mark.parametrize(
    ("role", "place", "source", "status"),
    [
        ("companion", "vision/_C.so", kernel("fast"), "wrong"),
        # Python opens it if the CPU is such a one.
        ("companion", "vllm/_C_AVX512.so", kernel("fast"), "note"),
        ("companion", "vision.libs/libjpeg.so", kernel("fast") + CHOICE, "note"),
        ("companion", "vision.libs/libpng.so", kernel("fast"), "wrong"),
        ("needed", "other/libz.so", kernel("fast"), "ok"),
    ],
)
def test_other_libraries(role: Role, place: str, source: str, status: str, tmp_path: Path) -> None:
    torch = tmp_path / "torch"
    torch.mkdir()
    mine = library(torch, (PLAIN, flags(parse_cpu("avx2"))))
    path = tmp_path / place
    path.parent.mkdir()
    library(path.parent, (source, AVX512), name=path.name)
    found = rows([facts(mine), facts(path, role)], "avx2", Origin.WHEEL)
    about = [row for row in found if path.name in row.where and row.check == "instructions"]
    assert ([row.status for row in about] or ["ok"]) == [status]


def test_a_companion_of_a_wheel_by_its_own_name(tmp_path: Path) -> None:
    """The name says nothing about the CPU: what the companion needs is said, and not wrong."""
    torch, companion = tmp_path / "torch", tmp_path / "vision"
    for directory in (torch, companion):
        directory.mkdir()
    libraries = [
        facts(library(torch, (PLAIN, ()))),
        facts(library(companion, (kernel("fast"), AVX512), name="_C.so"), "companion"),
    ]
    found = list(check_cpu(libraries, parse_name("pytorch-bin-sm90"), Origin.WHEEL))
    assert [(row.status, row.where) for row in found] == [("note", "_C.so"), ("ok", found[1].where)]
    assert found[0].found == ("avx512f",)


def test_many_symbols_of_a_file_that_lies(tmp_path: Path) -> None:
    """Damaged tables are read as far as they go, in bounded time, or are one line."""
    path = library(tmp_path, (PLAIN, ()))
    data = path.read_bytes()
    header = HEADER.unpack_from(data)
    for entry in range(header[10]):
        place = header[5] + entry * 56
        damaged = bytearray(data)
        struct.pack_into("<Q", damaged, place + 16, 0x7FFFFFFFFFFF0000)
        path.write_bytes(damaged)
        read = read_library(Candidate(path, path.name, "torch", "torch"))
        assert isinstance(read.cpu, CpuFacts)


ARM_OPTIONS = ("-O3", "-fPIC", "-shared", "-nostdlib", "-frecord-gcc-switches")
# In C: Debian's compiler for Arm has no C++ beside it everywhere.
ARM = """
float dot(const float *a, const float *b, int n) {
  float sum = 0;
  for (int i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}
void add(int *restrict a, const int *restrict b, unsigned long n) {
  for (unsigned long i = 0; i < n; i++) a[i] += b[i];
}
int next(int *x) { return __atomic_fetch_add(x, 1, __ATOMIC_SEQ_CST); }
"""


def arm_library(directory: Path, *flags: str) -> Path:
    path = directory / "libc10.so"
    command = [str(tool("aarch64-linux-gnu-gcc")), "-x", "c", "-", "-o", str(path), *ARM_OPTIONS, *flags]
    subprocess.run(command, input=ARM.encode(), check=True)
    return path


@pytest.mark.parametrize("named", ["armv8_2", "armv9"])
def test_an_arm_build(named: str, tmp_path: Path) -> None:
    assert wrong(arm_library(tmp_path, *parse_cpu(named).flags), named) == []


@pytest.mark.parametrize(
    ("built", "named", "feature"),
    [("armv9", "armv8_2", "sve"), ("armv8_2", "armv9", "atomics")],
)
def test_an_arm_build_of_another_name(built: str, named: str, feature: str, tmp_path: Path) -> None:
    found = wrong(arm_library(tmp_path, *parse_cpu(built).flags), named)
    assert feature in {name for row in found for name in row.found}


def test_an_arm_build_without_the_flags(tmp_path: Path) -> None:
    path = arm_library(tmp_path, "-mno-outline-atomics")
    assert {row.check for row in wrong(path, "armv8_2")} == {"compiler options", "instruction set in use"}
