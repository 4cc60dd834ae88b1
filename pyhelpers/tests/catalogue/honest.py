"""Environments that are what they say, however odd they look."""

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

from .base import CUT, OFFICIAL_210, WHEEL, case, install, lib, own, record, site, tell, write
from .build import companion, fatbin, gpu_library, library, linked, plain_library
from .wrong_mixtures import wrap

AVX2 = "pytorch-sm90-avx2"


@case("The base as it is.", honest=True, quick=True)
def cut(env: Path) -> None:
    del env


@case(
    "The base as it is, by the name of the official wheel cut down.",
    honest=True,
    variant="pytorch-bin-sm90",
    origin=WHEEL,
)
def cut_as_bin(env: Path) -> None:
    del env


@case("The name spells out Python and CUDA.", honest=True, variant="pytorch-python311-cuda12_8-sm90-avx512")
def cut_spelled_out(env: Path) -> None:
    del env


@case(
    "The official wheel under the name of all its architectures.",
    honest=True,
    base="official",
    variant=OFFICIAL_210,
)
def official(env: Path) -> None:
    del env


@case("The official wheel cut down to sm_86.", honest=True, base="sm86")
def cut_sm86(env: Path) -> None:
    del env


@case(
    "The official wheel cut down to what an sm_89 runs: sm_86 where there is nothing later.",
    honest=True,
    base="sm89",
)
def cut_sm89(env: Path) -> None:
    del env


@case("The official wheel cut down to sm_100.", honest=True, base="sm100")
def cut_sm100(env: Path) -> None:
    del env


@case("The official CPU wheel.", honest=True, base="cpu")
def cpu(env: Path) -> None:
    del env


@case(
    "A companion's data has a fat binary's magic by chance, at an aligned address.", honest=True, quick=True
)
def magic_by_chance(env: Path) -> None:
    source = """
const unsigned table[64] __attribute__((aligned(64))) = {0x466243b1, 1, 7, 9, 0xba55ed50, 0x12345678,
    0x9abcdef0, 0xba55ed50, 0x00100001, 3, 0, 0xffffffff};
"""
    library(companion(env) / "_C.so", source, linked(env))


@case("A companion's text speaks of PTX and cubins, and is neither.", honest=True)
def words_about_ptx(env: Path) -> None:
    source = """
const char help[] = "no .version directive; add .version 8.0 and .target sm_80 to the PTX; got \\177ELF";
const char *usage(void) { return help; }
"""
    library(companion(env) / "_C.so", source, linked(env))


@case("vpermw is AVX-512BW, not VBMI as vpermb is.", honest=True)
def vpermw(env: Path) -> None:
    source = 'void compute(void) { __asm__ volatile("vpermw %zmm1, %zmm2, %zmm3"); }\n'
    library(companion(env) / "_C.so", source, linked(env))


@case("AVX-512 CD is no part of AVX-512 F, but every CPU with F has it.", honest=True, debatable=True)
def vplzcntd(env: Path) -> None:
    source = 'void compute(void) { __asm__ volatile("vplzcntd %zmm1, %zmm2"); }\n'
    library(companion(env) / "_C.so", source, linked(env))


@case("A companion compiled for AVX2 with GCC's own flags.", honest=True, variant=AVX2)
def compiled_for_avx2(env: Path) -> None:
    source = (
        "void add(float *x, const float *y, int n) { for (int i = 0; i < n; i++) x[i] = x[i] * y[i] + 1; }\n"
    )
    library(companion(env) / "_C.so", source, ["-O3", "-mavx2", "-mfma", "-mf16c", *linked(env)])


@case("AVX-512 behind GCC's dispatch (target_clones) in an AVX2 build.", honest=True, variant=AVX2)
def target_clones(env: Path) -> None:
    source = """
__attribute__((target_clones("avx512f", "avx2", "default")))
void add(float *x, int n) { for (int i = 0; i < n; i++) x[i] += 1; }
"""
    library(companion(env) / "_C.so", source, ["-O3", *linked(env)])


@case(
    "AVX-512 behind a question to the CPU, in namespaces as PyTorch names them, in an AVX2 build.",
    honest=True,
    variant=AVX2,
)
def dispatched_by_namespace(env: Path) -> None:
    source = """
__attribute__((target("avx512f"), noinline)) void _ZN2at6native6AVX5123addEPfi(float *x, int n) {
    for (int i = 0; i < n; i++) x[i] += 1;
}
__attribute__((noinline)) void _ZN2at6native7DEFAULT3addEPfi(float *x, int n) {
    for (int i = 0; i < n; i++) x[i] += 1;
}
void add(float *x, int n) {
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f")) _ZN2at6native6AVX5123addEPfi(x, n);
    else _ZN2at6native7DEFAULT3addEPfi(x, n);
}
"""
    library(companion(env) / "_C.so", source, ["-O3", "-mprefer-vector-width=512", *linked(env)])


@case("cpuid, xgetbv, rdtsc, endbr64 and prefetches need no set of their own.", honest=True, variant=AVX2)
def harmless_instructions(env: Path) -> None:
    source = (
        'void compute(void) { __asm__ volatile("endbr64\\n cpuid\\n xgetbv\\n rdtscp\\n pause\\n'
        ' prefetcht0 (%rsp)\\n prefetchw (%rsp)\\n nopw 0(%rax,%rax)\\n lfence\\n ud2"); }\n'
    )
    library(companion(env) / "_C.so", source, ["-fcf-protection=full", *linked(env)])


@case(
    "A table of numbers in .text, after a function's end, looks like AVX-512.",
    honest=True,
    variant=AVX2,
    debatable=True,
)
def data_in_text(env: Path) -> None:
    source = """
__asm__(".text\\n.globl compute\\n.type compute,@function\\ncompute: lea table(%rip), %rax\\n"
        " mov (%rax), %eax\\n ret\\n"
        ".size compute, .-compute\\n.type table,@object\\ntable: .byte 0x62,0xf1,0x6c,0x48,0x58,0xd9,0xc3\\n"
        ".size table, .-table\\n");
"""
    library(companion(env) / "_C.so", source, linked(env))


@case("A companion compiled for the same GPU.", honest=True, quick=True)
def companion_sm90(env: Path) -> None:
    gpu_library(env, companion(env) / "_C.so", fatbin("sm_90"))


@case("The same, compressed.", honest=True)
def companion_sm90_packed(env: Path) -> None:
    code = fatbin("sm_90", options=("-compress-mode=size", "-Xfatbin", "-compress-all"))
    gpu_library(env, companion(env) / "_C.so", code)


@case("A companion with code for sm_90 and sm_90a.", honest=True)
def companion_sm90a(env: Path) -> None:
    gpu_library(env, companion(env) / "_C.so", fatbin("sm_90", "sm_90a"))


@case("A CUDA file without kernels leaves a container without code.", honest=True)
def companion_without_kernels(env: Path) -> None:
    gpu_library(env, companion(env) / "_C.so", fatbin("sm_90", source="int host;\n"))


@case("torchvision and torchaudio that fit, cut down alike.", honest=True)
def companions_that_fit(env: Path) -> None:
    for requirement in ("torchvision==0.25.0", "torchaudio==2.10.0", "pillow==11.3.0"):
        install(env, requirement)
    for name in ("torchvision", "torchaudio"):
        for path in (site(env) / name).rglob("*.so"):
            retarget(own(path))
            tell(env, path, name=name)


def retarget(path: Path) -> None:
    """Cut a library down to sm_90, if it has GPU code."""
    if b".nv_fatbin\0" in path.read_bytes():
        command = [sys.executable, "-c", "from pytorch_variants.cli import main; main()"]
        subprocess.run(
            [*command, "retarget", str(path), "--gpu", "sm90", "--in-place"], check=True, capture_output=True
        )


@case(
    "torchvision and torchaudio that fit the official wheel.",
    honest=True,
    base="official",
    variant=OFFICIAL_210,
)
def companions_of_official(env: Path) -> None:
    for requirement in ("torchvision==0.25.0", "torchaudio==2.10.0", "pillow==11.3.0"):
        install(env, requirement)


@case("torchcodec has a library for each FFmpeg, of which this machine has none or one.", honest=True)
def torchcodec(env: Path) -> None:
    install(env, "torchcodec==0.10.0")


@case(
    "A package that has nothing to do with torch has GPU code for others and a library that finds nothing.",
    honest=True,
)
def unrelated_package(env: Path) -> None:
    home = site(env) / "renderer"
    write(home / "__init__.py", "raise SystemExit('never import me')\n")
    source = '__asm__(".section .nv_fatbin,\\"a\\"\\n.incbin \\"code\\"\\n.previous");\n'
    library(home / "kernels.so", source, embed={"code": fatbin("sm_80")})
    missing = library(home / "libmissing.so", "int missing;\n", ["-Wl,-soname,libmissing.so"])
    library(home / "broken.so", "int broken;\n", ["-Wl,--no-as-needed", str(missing)])
    missing.unlink()


@case("An AVX-512 library in a package that has nothing to do with torch.", honest=True, variant=AVX2)
def unrelated_avx512(env: Path) -> None:
    home = site(env) / "renderer"
    write(home / "__init__.py", "")
    library(home / "fast.so", 'void compute(void) { __asm__ volatile("vaddps %zmm1, %zmm2, %zmm3"); }\n')


@case("A venv that finds torch in the environment by a .pth file.", honest=True)
def venv_with_pth(env: Path) -> None:
    real = env.parent / "real"
    env.rename(real)
    subprocess.run([real / "bin/python", "-m", "venv", "--without-pip", env], check=True)
    write(site(env) / "torch.pth", f"{site(real)}\n")


@case("The environment is a link to it.", honest=True)
def environment_is_a_link(env: Path) -> None:
    env.rename(env.parent / "real")
    env.symlink_to(env.parent / "real")


@case("torch is a link into another directory, as in Nix' environments.", honest=True)
def torch_is_a_link(env: Path) -> None:
    store = env.parent / "store/lib/python3.11/site-packages"
    store.mkdir(parents=True)
    for name in ("torch", "nvidia", "torchgen", "functorch"):
        (site(env) / name).rename(store / name)
        (site(env) / name).symlink_to(store / name)


@case("Every file of torch is a link into another directory.", honest=True)
def files_are_links(env: Path) -> None:
    store = env.parent / "store"
    store.mkdir()
    for name in ("torch", "nvidia"):
        (site(env) / name).rename(store / name)
        subprocess.run(["cp", "-as", store / name, site(env) / name], check=True)


@case("bin/python is a wrapper that sets harmless variables.", honest=True)
def python_is_a_wrapper(env: Path) -> None:
    wrap(env, "export PYTHONNOUSERSITE=1 SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt")


@case(
    "A directory as pip's --target makes it, found by the wrapper's PYTHONPATH.", honest=True, debatable=True
)
def target_directory(env: Path) -> None:
    target = env.parent / "target"
    site(env).rename(target)
    site_packages = env / "lib/python3.11/site-packages"
    site_packages.mkdir()
    wrap(env, f"export PYTHONPATH={target}")


@case("The environment's path has spaces, quotes and letters beyond ASCII.", honest=True)
def odd_path(env: Path) -> Path:
    real = env.parent / 'it\'s a «test» "dir"'
    env.rename(real)
    return real


@case("A file's name in a companion is not UTF-8.", honest=True, quick=True)
def name_not_utf8(env: Path) -> None:
    home = companion(env)
    plain_library(env, home)
    Path(os.fsdecode(os.fsencode(home) + b"/caf\xe9.txt")).write_text("latin-1\n")
    Path(os.fsdecode(os.fsencode(site(env)) + b"/torch/caf\xe9.txt")).write_text("latin-1\n")


@case("Left from a removed torchvision: directories with stale __pycache__ alone.", honest=True)
def leftovers(env: Path) -> None:
    for name in ("torchvision", "torchaudio"):
        write(site(env) / name / "__pycache__/gone.cpython-311.pyc", b"\xa7\r\r\n" + bytes(12))
    (site(env) / "torchtext").mkdir()


@case("Stale .pyc files of modules that are gone.", honest=True)
def stale_pyc(env: Path) -> None:
    write(site(env) / "torch/__pycache__/gone.cpython-311.pyc", b"\xa7\r\r\n" + bytes(12))
    write(site(env) / "torch/nn/__pycache__/functional.cpython-310.pyc", b"\x6f\r\r\n" + bytes(12))


@case("No RECORD, as conda and Nix leave it.", honest=True, quick=True)
def no_record(env: Path) -> None:
    for path in site(env).glob("*.dist-info/RECORD"):
        path.unlink()


@case("No dist-info at all, as a build tree has it.", honest=True)
def no_dist_info(env: Path) -> None:
    shutil.rmtree(record(env).parent)


@case("RECORD without hashes and sizes, as some installers write it.", honest=True)
def record_without_hashes(env: Path) -> None:
    names = [line.rsplit(",", 2)[0] for line in record(env).read_text().splitlines()]
    write(record(env), "".join(f"{name},,\n" for name in names))


@case("RECORD has Windows' line ends and a quoted name.", honest=True)
def record_with_crlf(env: Path) -> None:
    extra = site(env) / "torch/with, comma.txt"
    write(extra, "text\n")
    text = record(env).read_text() + '"torch/with, comma.txt",,\n'
    write(record(env), text.replace("\n", "\r\n").encode())


@case("Files that a user left below torch: notes, a cache.", honest=True)
def extra_files(env: Path) -> None:
    write(site(env) / "torch/NOTES.txt", "mine\n")
    write(site(env) / "torch/.cache/kernel.json", "{}\n")


@case("A linker script, named as a library, beside a companion's libraries.", honest=True)
def linker_script(env: Path) -> None:
    home = companion(env)
    plain_library(env, home)
    write(home / "lib/libmy_ops.so", "/* GNU ld script */\nINPUT(../_C.so)\n")


@case(
    "A static library and an object file below a companion: no program loads them.",
    honest=True,
    debatable=True,
)
def static_library(env: Path) -> None:
    home = companion(env)
    plain_library(env, home)
    write(home / "source.c", 'void compute(void) { __asm__ volatile("vaddps %zmm1, %zmm2, %zmm3"); }\n')
    subprocess.run(["gcc", "-c", "source.c", "-o", "source.o"], cwd=home, check=True)
    subprocess.run(["ar", "rcs", "libmy_ops.a", "source.o"], cwd=home, check=True)


@case("Debugging symbols in a file of their own: its sections have no content.", honest=True)
def debug_file(env: Path) -> None:
    home = companion(env)
    path = library(home / "_C.so", "int ops(void) { return 1; }\n", ["-g", *linked(env)])
    subprocess.run(["objcopy", "--only-keep-debug", path, home / "_C.so.debug"], check=True)


@case("A companion's library is stripped of all that can be stripped.", honest=True)
def stripped(env: Path) -> None:
    path = plain_library(env, companion(env))
    subprocess.run(["strip", "--strip-all", path], check=True)


@case("A companion prints a greeting as it is imported.", honest=True)
def companion_greets(env: Path) -> None:
    plain_library(env, companion(env, init="import torch\n\nprint('Welcome to my_ops!')\n"))


@case("A companion prints as Python ends.", honest=True, debatable=True)
def companion_says_goodbye(env: Path) -> None:
    plain_library(env, companion(env, init="import atexit\nimport torch\n\natexit.register(print, 'bye')\n"))


@case("A companion warns on standard error, in letters beyond ASCII.", honest=True)
def companion_warns(env: Path) -> None:
    init = "import sys\nimport warnings\nimport torch\n\nwarnings.warn('naïve')\nsys.stderr.write('é\\n')\n"
    plain_library(env, companion(env, init=init))


@case("sitecustomize.py prints a line whenever Python starts.", honest=True, base="cpu")
def sitecustomize_greets(env: Path) -> None:
    write(site(env) / "sitecustomize.py", "print('managed by the platform team')\n")


@case("A .pth file of setuptools' kind runs code as Python starts.", honest=True)
def pth_runs_code(env: Path) -> None:
    write(
        site(env) / "distutils-precedence.pth",
        "import os; var = 'SETUPTOOLS_USE_DISTUTILS'; os.environ.get(var)\n",
    )


@case("A companion starts threads and a child that ends with it.", honest=True)
def companion_starts_threads(env: Path) -> None:
    init = (
        "import subprocess\nimport threading\nimport torch\n\n"
        "threading.Thread(target=lambda: None, daemon=True).start()\nsubprocess.run(['true'], check=True)\n"
    )
    plain_library(env, companion(env, init=init))


@case("An older copy of a library lies beside its successor in a package that is no companion.", honest=True)
def unrelated_cudart(env: Path) -> None:
    with_wheel = site(env) / "other_tool/lib"
    with_wheel.mkdir(parents=True)
    write(site(env) / "other_tool/__init__.py", "")
    shutil.copy(site(env) / "nvidia/cuda_runtime/lib/libcudart.so.12", with_wheel / "libcudart.so.11.0")


@case("A big-endian and a 32-bit ELF file lie in a package's tests, as pyelftools has them.", honest=True)
def foreign_elf_files(env: Path) -> None:
    home = site(env) / "elf_reader/tests"
    write(home / "big.elf", b"\x7fELF\x02\x02\x01" + bytes(9) + struct.pack(">HHI", 3, 21, 1) + bytes(40))
    write(home / "small.elf", b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHI", 3, 40, 1) + bytes(28))


@case("libgomp in torch/lib is a hard link with a second name.", honest=True)
def hard_link(env: Path) -> None:
    path = lib(env, "libgomp.so.1")
    (path.with_name("libgomp-copy.so.1")).hardlink_to(path)


# What torch.cuda.get_arch_list() says of the official releases for x86-64 on PyPI.
RELEASES = {
    "2.8.0": ("12_8", "sm70-sm75-sm80-sm86-sm90-sm100-sm120"),
    "2.9.1": ("12_8", "sm70-sm75-sm80-sm86-sm90-sm100-sm120"),
    "2.11.0": ("13_0", "sm75-sm80-sm86-sm90-sm100-sm120"),
    "2.12.1": ("13_0", "sm75-sm80-sm86-sm90-sm100-sm120"),
    "2.13.0": ("13_0", "sm75-sm80-sm86-sm90-sm100-sm120"),
    "2.14.1": ("13_0", "sm75-sm80-sm86-sm90-sm100-sm120"),
    "2.15.0": ("13_2", "sm75-sm80-sm86-sm90-sm100-sm120"),
}


def release(version: str, cuda: str, gpus: str) -> None:
    """An official release's cases."""
    base = f"release-{version}"

    @case(
        f"The official PyTorch {version} in a venv.",
        honest=True,
        name=f"release_{version}",
        base=base,
        variant=f"pytorch-cuda{cuda}-{gpus}-avx2",
        origin=WHEEL,
    )
    def whole(env: Path) -> None:
        del env

    @case(
        f"The official PyTorch {version}, cut down to sm_90 where it lies.",
        honest=True,
        name=f"release_{version}_cut",
        base=base,
        variant=f"pytorch-cuda{cuda}-sm90-avx2",
        origin=CUT,
    )
    def cut_down(env: Path) -> None:
        for path in lib(env).glob("*.so"):
            own(path)
        own(record(env))
        command = [sys.executable, "-c", "from pytorch_variants.cli import main; main()", "retarget"]
        subprocess.run([*command, env, "--gpu", "sm90", "--in-place"], check=True, capture_output=True)

    @case(
        f"The official PyTorch {version}, which has all architectures, claims sm_90.",
        name=f"release_{version}_claims_sm90",
        base=base,
        variant=f"pytorch-cuda{cuda}-sm90-avx2",
        origin=CUT,
        row="sm_",
    )
    def claims_one(env: Path) -> None:
        del env


for number, (toolkit, architectures) in RELEASES.items():
    release(number, toolkit, architectures)
