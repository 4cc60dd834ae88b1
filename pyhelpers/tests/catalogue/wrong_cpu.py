"""CPU instructions beyond the set, wherever they lie, and claims to be compiled for a set."""

import subprocess
from pathlib import Path

from .base import SOURCE, case, lib, replace, tell, write
from .build import companion, library, linked
from .elf import function, sections, without_sections

AVX2 = "pytorch-sm90-avx2"

# Each is one instruction that a CPU with no more than the set, its parts included, does not have.
BEYOND_AVX2 = {
    "avx512": ("vaddps %zmm1, %zmm2, %zmm3", "AVX-512F"),
    "avx512vl": ("vpternlogd $1, %ymm1, %ymm2, %ymm3", "AVX-512VL on 256 bits"),
    "vaes": ("vaesenc %ymm1, %ymm2, %ymm3", "VAES"),
    "gfni": ("gf2p8mulb %xmm1, %xmm2", "GFNI"),
    "sha": ("sha256rnds2 %xmm0, %xmm1, %xmm2", "SHA"),
    "adx": ("adcx %rax, %rcx", "ADX"),
    "fma4": ("vfmaddps %xmm1, %xmm2, %xmm3, %xmm4", "FMA4, of AMD from 2011 to 2016"),
    "xop": ("vprotd $3, %xmm1, %xmm2", "XOP, of AMD from 2011 to 2016"),
    "avxvnni": ("{vex} vpdpbusd %ymm1, %ymm2, %ymm3", "AVX-VNNI"),
    "vpclmulqdq": ("vpclmulqdq $1, %ymm1, %ymm2, %ymm3", "VPCLMULQDQ"),
    "rdseed": ("rdseed %rax", "RDSEED"),
    "kmov": ("kmovw %eax, %k1", "AVX-512's masks without its registers"),
    "movdiri": ("movdiri %eax, (%rdx)", "MOVDIRI"),
    "tbm": ("blcfill %eax, %ecx", "TBM, of AMD"),
}
BEYOND_AVX512 = {
    "amx": ("tdpbssd %tmm1, %tmm2, %tmm3", "AMX"),
    "vbmi": ("vpermb %zmm1, %zmm2, %zmm3", "AVX-512 VBMI"),
    "vp2intersect": ("vp2intersectd %zmm1, %zmm2, %k2", "AVX-512 VP2INTERSECT"),
    "fp16": ("vaddph %zmm1, %zmm2, %zmm3", "AVX-512 FP16"),
    "er": ("vexp2ps %zmm1, %zmm2", "AVX-512 ER, of Xeon Phi"),
    "bf16": ("vdpbf16ps %zmm1, %zmm2, %zmm3", "AVX-512 BF16"),
    "vnni": ("vpdpbusd %zmm1, %zmm2, %zmm3", "AVX-512 VNNI"),
    "popcnt": ("vpopcntq %zmm1, %zmm2", "AVX-512 VPOPCNTDQ"),
}


def exported(instruction: str) -> str:
    """C with a function that everybody may call."""
    return f'void compute(void) {{ __asm__ volatile("{instruction}"); }}\n'


def add(name: str, instruction: str, what: str, variant: str) -> None:
    """A case: a companion whose exported function has an instruction beyond the set."""

    @case(
        f"A companion's function has an instruction of {what}: it is killed.",
        variant=variant,
        name=name,
        row="my_ops|_C.so",
        quick=name == "cpu_avx512",
    )
    def make(env: Path) -> None:
        library(companion(env) / "_C.so", exported(instruction), linked(env))


for key, (one, called) in BEYOND_AVX2.items():
    add(f"cpu_{key}", one, called, AVX2)
for key, (one, called) in BEYOND_AVX512.items():
    add(f"cpu_{key}", one, called, "pytorch-sm90-avx512")
for key, (one, called) in {
    "bmi": ("andn %eax, %ecx, %edx", "BMI1"),
    "avx2": ("vpaddd %ymm1, %ymm2, %ymm3", "AVX2"),
    "fma": ("vfmadd231ps %ymm1, %ymm2, %ymm3", "FMA"),
}.items():
    add(f"cpu_{key}", one, called, "pytorch-sm90-avx")


@case(
    "An internal function of a companion has AVX-512; no symbol names it.", variant=AVX2, row="my_ops|_C.so"
)
def cpu_internal(env: Path) -> None:
    source = """
static void __attribute__((noinline)) work(float *x) {
    __asm__ volatile("vmovups (%0), %%zmm1\\n vaddps %%zmm1, %%zmm1, %%zmm2\\n vmovups %%zmm2, (%0)"
                     : : "r"(x) : "memory");
}
void compute(float *x) { work(x); }
"""
    path = library(companion(env) / "_C.so", source, linked(env))
    subprocess.run(["strip", "--strip-unneeded", path], check=True)


@case("AVX-512 in a function that only a table of pointers names.", variant=AVX2, row="my_ops|_C.so")
def cpu_by_pointer(env: Path) -> None:
    source = """
__asm__(".pushsection .text\\n.Lwork: vaddps %zmm1, %zmm2, %zmm3\\n ret\\n.popsection\\n"
        ".pushsection .data.rel.ro,\\"aw\\"\\n.globl table\\ntable: .quad .Lwork\\n.popsection");
extern void (*table[])(void) __attribute__((visibility("hidden")));
void compute(void) { table[0](); }
"""
    library(companion(env) / "_C.so", source, linked(env))


@case("AVX-512 in a constructor: loading the library is enough.", variant=AVX2, row="my_ops|_C.so")
def cpu_in_constructor(env: Path) -> None:
    source = """
int ready;
static void __attribute__((constructor)) start(void) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("sse2")) ready = 1;
    if (!ready) __asm__ volatile("vaddps %zmm1, %zmm2, %zmm3");
}
"""
    library(companion(env) / "_C.so", source, linked(env))


@case("AVX-512 in an executable section of another name.", variant=AVX2, row="my_ops|_C.so")
def cpu_other_section(env: Path) -> None:
    code = exported("vaddps %zmm1, %zmm2, %zmm3")
    source = code.replace("void compute", 'void __attribute__((section(".fast"))) compute')
    library(companion(env) / "_C.so", source, linked(env))


@case(
    "AVX-512 in a section without the flag for code, in a segment that is executable.",
    variant=AVX2,
    row="my_ops|_C.so",
)
def cpu_in_rodata(env: Path) -> None:
    source = """
__asm__(".pushsection .rodata\\n.globl work\\n.hidden work\\n"
        "work: vaddps %zmm1, %zmm2, %zmm3\\n ret\\n.popsection");
extern void work(void);
void compute(void) { work(); }
"""
    library(companion(env) / "_C.so", source, [*linked(env), "-Wl,-z,noseparate-code"])


@case("AVX-512 in a library without section headers.", variant=AVX2, row="my_ops|_C.so", quick=True)
def cpu_no_section_headers(env: Path) -> None:
    path = library(companion(env) / "_C.so", exported("vaddps %zmm1, %zmm2, %zmm3"), linked(env))
    write(path, without_sections(path.read_bytes()))


@case("AVX-512 in a section whose header says NOBITS.", variant=AVX2, row="my_ops|_C.so")
def cpu_section_is_nobits(env: Path) -> None:
    path = library(companion(env) / "_C.so", exported("vaddps %zmm1, %zmm2, %zmm3"), linked(env))
    data = bytearray(path.read_bytes())
    header = next(x for x in sections(bytes(data)) if x.name == ".text").header
    data[header + 4 : header + 8] = (8).to_bytes(4, "little")
    write(path, bytes(data))


@case("AVX-512 in a function that calls itself avx2, behind no dispatch.", variant=AVX2, row="my_ops|_C.so")
def cpu_misnamed(env: Path) -> None:
    library(
        companion(env) / "_C.so",
        exported("vaddps %zmm1, %zmm2, %zmm3").replace("compute", "compute_avx2"),
        linked(env),
    )


@case(
    "AVX-512 in a function named as if it were dispatched, and called by everybody.",
    variant=AVX2,
    row="my_ops|_C.so",
    debatable=True,
)
def cpu_named_avx512(env: Path) -> None:
    source = exported("vaddps %zmm1, %zmm2, %zmm3").replace(
        "void compute", "void __attribute__((noinline)) add_avx512"
    )
    library(companion(env) / "_C.so", source + "void compute(void) { add_avx512(); }\n", linked(env))


@case("AVX-512 after bytes that are no instruction.", variant=AVX2, row="my_ops|_C.so")
def cpu_after_rubbish(env: Path) -> None:
    source = """
__asm__(".text\\n.globl compute\\ncompute: jmp 1f\\n .byte 0x06,0x07,0x0e,0x62\\n"
        "1: vaddps %zmm1, %zmm2, %zmm3\\n ret\\n");
"""
    library(companion(env) / "_C.so", source, linked(env))


@case("AVX-512 far behind in a function of 2 MB.", variant=AVX2, row="my_ops|_C.so")
def cpu_far_behind(env: Path) -> None:
    source = """
__asm__(".text\\n.globl compute\\n.type compute,@function\\ncompute:\\n.fill 500000, 4, 0x00401f0f\\n"
        " vaddps %zmm1, %zmm2, %zmm3\\n ret\\n.size compute, .-compute\\n");
"""
    library(companion(env) / "_C.so", source, linked(env))


@case("AVX-512 in the last of 20 000 functions.", variant=AVX2, row="my_ops|_C.so")
def cpu_last_of_many(env: Path) -> None:
    source = "".join(f"int f{i}(int x) {{ return x + {i}; }}\n" for i in range(20000))
    library(companion(env) / "_C.so", source + exported("vaddps %zmm1, %zmm2, %zmm3"), [*linked(env), "-O0"])


def overwrite(path: Path, part: str) -> None:
    """Let an exported function begin with vaddps %zmm1, %zmm2, %zmm3 and return."""
    data = bytearray(path.read_bytes())
    code = bytes.fromhex("62f16c4858d9c3")
    at = function(data, part)
    data[at : at + len(code)] = code
    write(path, bytes(data))


@case("An exported function of libc10_cuda.so has AVX-512.", variant=AVX2, row="c10_cuda")
def cpu_in_torch(env: Path) -> None:
    overwrite(lib(env, "libc10_cuda.so"), "get_cuda_check_suffix")
    tell(env, lib(env, "libc10_cuda.so"))


@case(
    "A library that torch does not ship, torch/lib/libfast.so, has AVX-512 in an exported function.",
    variant=AVX2,
    row="libfast",
)
def cpu_in_another_library(env: Path) -> None:
    tell(env, library(lib(env, "libfast.so"), exported("vaddps %zmm1, %zmm2, %zmm3"), linked(env)))


@case("libshm.so has AVX-512 in an exported function.", variant=AVX2, row="libshm")
def cpu_in_libshm(env: Path) -> None:
    overwrite(lib(env, "libshm.so"), "fromDataPtr")
    tell(env, lib(env, "libshm.so"))


@case("The library that a companion needs, outside torch, has AVX-512.", variant=AVX2, row="libmath")
def cpu_in_needed(env: Path) -> None:
    home = companion(env)
    needed = library(
        home / "libs/libmath9.so", exported("vaddps %zmm1, %zmm2, %zmm3"), ["-Wl,-soname,libmath9.so"]
    )
    library(
        home / "_C.so", "int ops(void) { return 1; }\n", [*linked(env, needed), "-Wl,-rpath,$ORIGIN/libs"]
    )


@case("A companion of a CPU build for AVX2 has AVX-512.", base="cpu", row="my_ops|_C.so")
def cpu_build_avx512(env: Path) -> None:
    library(companion(env) / "_C.so", exported("vaddps %zmm1, %zmm2, %zmm3"), linked(env))


@case(
    "The official wheel, cut down, claims to be compiled with AVX-512.",
    origin=SOURCE,
    row="instruction|flags",
    quick=True,
)
def claims_compiled_avx512(env: Path) -> None:
    del env


@case(
    "The official wheel, cut down, claims to be compiled with AVX2.",
    origin=SOURCE,
    variant=AVX2,
    row="instruction|flags",
)
def claims_compiled_avx2(env: Path) -> None:
    del env


@case(
    "The official CPU wheel claims to be compiled with AVX-512.",
    base="cpu",
    origin=SOURCE,
    variant="pytorch-cpu-avx512",
    row="instruction|flags",
)
def claims_compiled_cpu(env: Path) -> None:
    del env


@case(
    "It claims to be compiled with AVX-512; only the small libc10.so has the compiler's record of that.",
    origin=SOURCE,
    row="instruction|flags",
)
def claims_by_one_record(env: Path) -> None:
    flags = env.parent / "flags"
    flags.write_bytes(b"GNU C++17 12.2.0 -mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma -O2\0")
    path = lib(env, "libc10.so")
    out = env.parent / "libc10.so"
    subprocess.run(["objcopy", f"--add-section=.GCC.command.line={flags}", path, out], check=True)
    tell(env, replace(path, out))


@case(
    "It claims to be compiled with AVX-512; one added library of torch is, with its record.",
    origin=SOURCE,
    row="instruction|flags",
)
def claims_by_one_library(env: Path) -> None:
    source = "void add(float *x, int n) { for (int i = 0; i < n; i++) x[i] += 1; }\n"
    flags = [
        "-O3",
        "-mavx512f",
        "-mavx512bw",
        "-mavx512dq",
        "-mavx512vl",
        "-mprefer-vector-width=512",
        "-mfma",
    ]
    path = library(lib(env, "libtorch_fast.so"), source, [*flags, "-frecord-gcc-switches", *linked(env)])
    tell(env, path)
