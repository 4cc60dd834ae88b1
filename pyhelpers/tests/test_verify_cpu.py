"""Which instructions a build has: small libraries like PyTorch's, compiled for real."""

import subprocess
from pathlib import Path

import capstone
import pytest
from binaries import tool
from hypothesis import given
from hypothesis import strategies as st

from pytorch_variants.binary.instructions import (
    allowed,
    arm_features,
    x86_feature,
    x86_instructions,
)
from pytorch_variants.findings import Finding, Origin
from pytorch_variants.hardware.spelling import parse_cpu
from pytorch_variants.hardware.table import (
    Cpu,
    cpus,
)
from pytorch_variants.names.variant import parse_name
from pytorch_variants.verify.cpu import check_cpu
from pytorch_variants.verify.environment import read_tree
from pytorch_variants.verify.facts import Candidate
from pytorch_variants.verify.static import read_library

# What PyTorch exports: plain loops. Its kernels for later CPUs are compiled with flags of their own, in
# namespaces of their own, and chosen at run time.
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
struct Shape { long sizes[16]; };
Shape copy(const Shape *shape) { return *shape; }
}
namespace at { double scale(double x, double y) { return x * y + 1; } }
"""
KERNEL = """
#include <immintrin.h>
namespace at { namespace native { namespace CAPABILITY {
void kernel(float *x) { _mm512_storeu_ps(x, _mm512_add_ps(_mm512_loadu_ps(x), _mm512_set1_ps(1))); }
} } }
"""
X86_DECODER = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
X86 = [cpu for cpu in cpus().values() if cpu.platforms == ("x86_64-linux",)]


def compile_torch(directory: Path, *parts: tuple[str, tuple[str, ...]]) -> Path:
    """A torch package with one library, of parts with compiler flags of their own."""
    (directory / "torch" / "lib").mkdir(parents=True)
    objects = []
    for number, (source, flags) in enumerate(parts):
        target = directory / f"{number}.o"
        command = [str(tool("g++")), "-O3", "-fPIC", "-c", "-x", "c++", "-", "-o", str(target), *flags]
        subprocess.run(command, input=source.encode(), check=True)
        objects.append(target)
    library = directory / "torch" / "lib" / "libc10.so"
    subprocess.run([tool("g++"), "-shared", "-o", library, *objects], check=True)
    return directory / "torch"


def flags(cpu: Cpu) -> tuple[str, ...]:
    return (*cpu.flags, *cpu.disable)


def wrong(torch: Path, cpu: str, origin: Origin = Origin.SOURCE) -> list[Finding]:
    libraries = [read_library(Candidate(path, path.name, "torch", "torch")) for path in read_tree(torch).elf]
    variant = parse_name(f"pytorch-cpu-{cpu}")
    return [row for row in check_cpu(libraries, variant, origin) if row.status == "wrong"]


@pytest.mark.parametrize("cpu", X86, ids=lambda cpu: cpu.name)
def test_a_build_for_each_set_passes(cpu: Cpu, tmp_path: Path) -> None:
    kernel = KERNEL.replace("CAPABILITY", "AVX512")
    torch = compile_torch(tmp_path, (PLAIN, flags(cpu)), (kernel, ("-mavx512f",)))
    assert wrong(torch, cpu.name) == []


@pytest.mark.parametrize(
    ("built", "named", "feature"),
    [
        ("avx512", "avx2", "avx512f"),
        ("avx512", "x86-64-v3", "avx512f"),
        ("avx512", "avx", "avx512f"),
        ("avx2", "avx", "avx2"),
        ("avx2", "avx", "fma"),
    ],
)
def test_more_than_the_set(built: str, named: str, feature: str, tmp_path: Path) -> None:
    rows = wrong(compile_torch(tmp_path, (PLAIN, flags(parse_cpu(built)))), named)
    assert feature in {row.found_text for row in rows}
    assert {row.check for row in rows} == {"instructions"}
    assert all(row.where.startswith("libc10.so: ") and " in _ZN" in row.where for row in rows)


@pytest.mark.parametrize("named", ["avx", "avx2", "x86-64-v3", "avx512", "x86-64-v4", "amx"])
def test_flags_that_did_not_reach_the_objects(named: str, tmp_path: Path) -> None:
    [row] = wrong(compile_torch(tmp_path, (PLAIN, ())), named)
    assert (row.check, row.found_text) == ("instruction set in use", "the platform's own")


def test_a_kernel_outside_its_namespace(tmp_path: Path) -> None:
    kernel = KERNEL.replace("CAPABILITY", "fast")
    torch = compile_torch(tmp_path, (PLAIN, flags(parse_cpu("avx2"))), (kernel, ("-mavx512f",)))
    assert [row.found_text for row in wrong(torch, "avx2")] == ["avx512f"]


def test_an_official_build_is_not_asked_for_the_set(tmp_path: Path) -> None:
    torch = compile_torch(tmp_path, (PLAIN, ()))
    assert wrong(torch, "avx512", Origin.WHEEL) == []


def test_nothing_to_look_at(tmp_path: Path) -> None:
    torch = compile_torch(tmp_path, ('extern "C" int answer() { return 42; }', ()))
    assert [row.found_text for row in wrong(torch, "avx2")] == ["no function to look at"]


# Instructions as the assembler encodes them, and what /proc/cpuinfo calls the extension.
ENCODED = {
    "addps xmm0, xmm1": None,
    "vaddps xmm0, xmm1, xmm2": "avx",
    "vaddps ymm0, ymm1, ymm2": "avx",
    "vzeroupper": "avx",
    ".byte 0xc4, 0xe1, 0x78, 0x77": "avx",
    "vpaddd xmm0, xmm1, xmm2": "avx",
    "vpaddd ymm0, ymm1, ymm2": "avx2",
    "vbroadcastss ymm0, [rax]": "avx",
    "vbroadcastss ymm0, xmm1": "avx2",
    "vpermq ymm0, ymm1, 3": "avx2",
    "vinserti128 ymm0, ymm1, xmm2, 1": "avx2",
    "vpgatherdd ymm0, [rax+ymm1*4], ymm2": "avx2",
    "vfmadd231sd xmm0, xmm1, [r9+r8*4+128]": "fma",
    "vcvtph2ps xmm0, xmm1": "f16c",
    "andn eax, ebx, ecx": "bmi1",
    "bextr eax, ebx, ecx": "bmi1",
    "shlx eax, ebx, ecx": "bmi2",
    "pext rax, rbx, rcx": "bmi2",
    "rorx eax, ebx, 3": "bmi2",
    "popcnt rax, rbx": "popcnt",
    "lzcnt rax, rbx": "abm",
    "movbe rax, [rbx]": "movbe",
    "crc32 eax, bl": None,
    "vaddps zmm0, zmm1, zmm2": "avx512f",
    "vmovdqu64 xmm16, [rip+4]": "avx512f",
    "kmovw k1, eax": "avx512f",
    "kshiftrw k1, k2, 1": "avx512f",
    "vplzcntd zmm0, zmm1": "avx512cd",
    "vpdpbusd zmm0, zmm1, zmm2": "avx512_vnni",
    "vdpbf16ps zmm0, zmm1, [rax+rbx*2+64]": "avx512_bf16",
    "vcvtneps2bf16 ymm0, zmm1": "avx512_bf16",
    "vaddph zmm0, zmm1, zmm2": "avx512_fp16",
    "tileloadd tmm1, [rax+rbx]": "amx_tile",
    "tilerelease": "amx_tile",
    "tdpbf16ps tmm0, tmm1, tmm2": "amx_bf16",
    "tdpbssd tmm0, tmm1, tmm2": "amx_int8",
    "{vex} vpdpbusd ymm0, ymm1, ymm2": "avx_vnni",
}


def test_encodings(tmp_path: Path) -> None:
    source = ".intel_syntax noprefix\n" + "\n".join(ENCODED)
    subprocess.run([tool("as"), "-o", tmp_path / "all.o"], input=source.encode(), check=True)
    dump = ["objcopy", "-O", "binary", "-j", ".text"]
    subprocess.run([*dump, tmp_path / "all.o", tmp_path / "all.bin"], check=True)
    code = (tmp_path / "all.bin").read_bytes()
    found = list(x86_instructions(X86_DECODER, code, 0))
    assert sum(len(instruction) for _, instruction, _ in found) == len(code)
    assert [x86_feature(instruction) for _, instruction, _ in found] == list(ENCODED.values())


@given(st.binary(max_size=200))
def test_any_bytes(code: bytes) -> None:
    end = 0
    for address, instruction, _ in x86_instructions(X86_DECODER, code, 0):
        assert address == end
        end += len(instruction)
        x86_feature(instruction)
    assert end <= len(code)


def test_arm_encodings() -> None:
    words = {
        0x8B020020: (None, "add"),
        0x38E00041: ("atomics", "ldaddalb"),
        0xB8A10041: ("atomics", "ldadda"),
        0x88A17C41: ("atomics", "cas"),
        0x4E829420: ("asimddp", "sdot"),
        0x6E829420: ("asimddp", "udot"),
        0x04A20020: ("sve", "add"),
        0x4E22D420: (None, "fadd"),
        0xA9BF7BFD: (None, "stp"),
        0x885FFC20: (None, "ldaxr"),
    }
    code = b"".join(word.to_bytes(4, "little") for word in words)
    decoder = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    assert [m for *_, m, _ in decoder.disasm_lite(code, 0)] == [name for _, name in words.values()]
    found = dict(arm_features(code))
    assert [found.get(4 * index) for index in range(len(words))] == [need for need, _ in words.values()]


def test_what_a_set_allows() -> None:
    assert "avx512f" not in allowed(parse_cpu("x86-64-v3").cpuinfo)
    assert {"avx", "avx2", "fma", "avx512f"} <= allowed(parse_cpu("amx").cpuinfo)
    assert "bmi2" not in allowed(parse_cpu("avx2").cpuinfo)
