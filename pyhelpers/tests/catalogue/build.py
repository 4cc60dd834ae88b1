"""Libraries compiled for a case: C by gcc, GPU code by nvcc, put together with every byte chosen."""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .base import lib, nvidia, site, write

KERNEL = "__global__ void kernel(float *x) { x[threadIdx.x] *= 2; }\n"


def tool(name: str) -> str:
    """One of NVIDIA's programs, from a package of this or the underlying Python."""
    for place in map(Path, sys.path):
        if (place / "nvidia/cu13/bin" / name).is_file():
            return str(place / "nvidia/cu13/bin" / name)
    raise FileNotFoundError(f"{name}: pip install nvidia-cuda-nvcc")


@functools.cache
def fatbin(*codes: str, options: tuple[str, ...] = (), source: str = KERNEL) -> bytes:
    """A fat binary with these codes, as "sm_90", "compute_90" or "lto_90"."""
    with tempfile.TemporaryDirectory() as room:
        (Path(room) / "kernel.cu").write_text(source)
        flags = []
        for code in codes:
            digits = code.split("_")[1]
            flags += ["-gencode", f"arch=compute_{digits},code={code}"]
        command = [tool("nvcc"), "-fatbin", *flags, *options, "-o", f"{room}/out", f"{room}/kernel.cu"]
        subprocess.run(command, check=True, capture_output=True)
        return (Path(room) / "out").read_bytes()


@functools.cache
def cubin(code: str) -> bytes:
    """A bare cubin, or PTX text for "compute_90"."""
    kind = "-ptx" if code.startswith("compute") else "-cubin"
    with tempfile.TemporaryDirectory() as room:
        (Path(room) / "kernel.cu").write_text(KERNEL)
        command = [tool("nvcc"), kind, f"-arch={code}", "-o", f"{room}/out", f"{room}/kernel.cu"]
        subprocess.run(command, check=True, capture_output=True)
        return (Path(room) / "out").read_bytes()


def library(
    target: Path,
    source: str,
    flags: Sequence[str] = (),
    *,
    embed: dict[str, bytes] | None = None,
    kind: str = "-shared",
) -> Path:
    """Compile C into a library, or a program if kind is -pie; `embed` are files for .incbin."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as room:
        (Path(room) / "source.c").write_text(source)
        for name, data in (embed or {}).items():
            (Path(room) / name).write_bytes(data)
        output = Path(room) / "out.so"
        found = [from_origin(flag, target) for flag in flags]
        command = ["gcc", "-O2", "-fPIC", kind, "source.c", *found, "-o", str(output)]
        subprocess.run(command, check=True, cwd=room, capture_output=True)
        return write(target, output.read_bytes(), 0o755)


def from_origin(flag: str, target: Path) -> str:
    """A place to look for libraries, as seen from a library in the same site-packages."""
    start = "-Wl,-rpath,"
    place = Path(flag.removeprefix(start))
    homes = [folder for folder in target.parents if folder.name == "site-packages"]
    if not flag.startswith(start) or not homes or not place.is_relative_to(homes[0]):
        return flag
    return f"{start}$ORIGIN/{os.path.relpath(place, target.parent)}"


def linked(env: Path, *more: Path) -> list[str]:
    """Flags that link a library to the environment's torch."""
    torch = ["-Wl,--no-as-needed", f"-L{lib(env)}", "-l:libc10.so", "-l:libtorch_cpu.so"]
    return [*torch, *map(str, more), "-Wl,--allow-shlib-undefined", f"-Wl,-rpath,{lib(env)}"]


def cuda_linked(env: Path) -> list[str]:
    """Flags that also link it to CUDA's runtime, found as torch finds it."""
    runtime = nvidia(env, "libcudart.so.*")
    where = f"-Wl,-rpath,{runtime.parent}"
    return [*linked(env, runtime), "-l:libtorch_cuda.so", "-l:libc10_cuda.so", where]


def gpu_source(section: str = ".nv_fatbin", wrapper: str = ".nvFatBinSegment", file: str = "code") -> str:
    """C that registers a fat binary as nvcc's own does, with sections of any name."""
    return f"""
__asm__(".section {section},\\"a\\"\\n.balign 8\\nfatbinary:\\n.incbin \\"{file}\\"\\n.balign 8\\n.previous");
extern const char fatbinary[] __attribute__((visibility("hidden")));
static struct {{ int magic, version; const void *data; void *more; }} wrapper
    __attribute__((section("{wrapper}"), used, aligned(8))) = {{0x466243b1, 1, fatbinary, 0}};
extern void **__cudaRegisterFatBinary(void *);
extern void __cudaRegisterFatBinaryEnd(void **);
extern void __cudaRegisterFunction(void **, const char *, char *, const char *, int, void *, void *, void *,
                                   void *, int *);
void stub(void) {{ }}
static void __attribute__((constructor)) start(void) {{
    void **handle = __cudaRegisterFatBinary(&wrapper);
    __cudaRegisterFunction(handle, (const char *)stub, "_Z6kernelPf", "_Z6kernelPf", -1, 0, 0, 0, 0, 0);
    __cudaRegisterFatBinaryEnd(handle);
}}
"""


def gpu_library(env: Path, target: Path, code: bytes, **sections: str) -> Path:
    """A library with this fat binary, linked to the environment's torch and CUDA."""
    return library(target, gpu_source(**sections), cuda_linked(env), embed={"code": code})


def companion(env: Path, name: str = "my_ops", init: str = "") -> Path:
    """A package that needs torch; by default it loads every library beside it. Returns its directory."""
    home = site(env) / name
    text = init or (
        "import pathlib\nimport torch\n\nfor path in sorted(pathlib.Path(__file__).parent.glob('*.so')):\n"
        "    torch.ops.load_library(str(path))\n"
    )
    write(home / "__init__.py", text)
    info = site(env) / f"{name}-1.0.dist-info"
    write(info / "METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: torch\n")
    write(info / "RECORD", f"{name}/__init__.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n")
    return home


def plain_library(env: Path, home: Path) -> Path:
    """A library with nothing wrong about it, linked to torch."""
    return library(home / "_C.so", "int my_ops_version(void) { return 1; }\n", linked(env))
