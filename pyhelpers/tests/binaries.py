"""Real libraries for the tests, made by the machine's compilers, and what other tools say of them.

On a machine without CUDA the compiler comes from PyPI, and works with gcc 12 as its host compiler:
nvidia-cuda-nvcc 13 brings nvidia-nvvm, nvidia-cuda-crt and nvidia-cuda-runtime with it, the static runtime
included. (nvidia-cuda-nvcc-cu12 has ptxas without nvcc.) PYTORCH_VARIANTS_NVCC names another one.
"""

import atexit
import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from pytorch_variants.binary.elf import (
    SHT_NOBITS,
    Elf,
    Section,
    open_elf,
)
from pytorch_variants.binary.fatbin import read_fatbins

CUDA = """
__global__ void add(float *x, float y) { x[threadIdx.x] += y; }
__global__ void scale(float *x, float y) { x[threadIdx.x] *= y; }
extern "C" int run(float *x) { add<<<1, 32>>>(x, 1.f); scale<<<1, 32>>>(x, 2.f); return cudaGetLastError(); }
"""
MANY = tuple(f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in (75, 80, 90, 120))
SUFFIXES = (
    "-gencode=arch=compute_80,code=sm_80",
    "-gencode=arch=compute_90a,code=sm_90a",
    "-gencode=arch=compute_100f,code=sm_100f",
    "-gencode=arch=compute_120,code=[sm_120,compute_120]",
)
# Libraries by name: the options that nvcc makes them with.
LIBRARIES = {
    "many": MANY,
    "uncompressed": (*MANY, "--no-compress"),
    "compressed": (*MANY, "-Xfatbin", "-compress-all"),
    "suffixes": SUFFIXES,
    "relocatable": (*MANY, "-rdc=true"),
    "ptx": ("-gencode=arch=compute_90,code=compute_90",),
    "relr": (*MANY, "-Xlinker", "-z,pack-relative-relocs"),
    "stripped": (*MANY, "-Xlinker", "-s"),
    "noteless": (*MANY, "-Xlinker", "--build-id=none"),
}


@functools.cache
def scratch() -> Path:
    """A directory that goes when the tests end."""
    path = Path(tempfile.mkdtemp(prefix="pytorch-variants-tests-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def tool(name: str) -> Path:
    """A program of CUDA's or of this Python environment; fails the test where there is none."""
    packages = Path(sysconfig.get_path("purelib"))
    candidates = [
        os.environ.get(f"PYTORCH_VARIANTS_{name.upper()}"),
        shutil.which(name),
        shutil.which(name, path=str(Path(sys.executable).parent)),
        *(str(packages / f"nvidia/{part}/bin/{name}") for part in ("cu13", "cuda_nvcc")),
    ]
    for candidate in candidates:
        if candidate and Path(candidate).is_file():
            return Path(candidate)
    pytest.fail(f"no {name} here: pip install -e 'pyhelpers[test]' brings it")


def _nvcc() -> tuple[str, ...]:
    return str(tool("nvcc")), "-Xcompiler=-fPIC", "-cudart=static"


CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pytorch-variants-tests"


@functools.cache
def _compilers() -> str:
    """What compiles, and in which version."""
    versions = [
        subprocess.check_output([program, "--version"], text=True)
        for program in (tool("nvcc"), tool("gcc"), tool("ld"))
    ]
    return "\n".join(versions)


def _kept(path: Path, make: Callable[[Path], None], *inputs: object) -> Path:
    """Make a file of what `inputs` say, or copy what an earlier run made of the same, by the same compilers.

    What is kept appears whole or not at all, and no test has it in its hands.
    """
    how = Path(__file__).read_text(encoding="utf-8")
    digest = hashlib.sha256(repr((_compilers(), how, inputs)).encode()).hexdigest()
    kept = CACHE / digest
    if kept.exists():
        shutil.copyfile(kept, path)
        return path
    make(path)
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as beside:
        shutil.copyfile(path, Path(beside, digest)).replace(kept)
    return path


@functools.cache
def nvcc_library(name: str, *options: str) -> Path:
    """A library that nvcc makes with these options; do not write to it."""

    def make(path: Path) -> None:
        source = scratch() / "kernels.cu"
        source.write_text(CUDA)
        subprocess.run([*_nvcc(), "-shared", *options, "-o", path, source], check=True)

    path = scratch() / f"lib{name}.so"
    if any("/" in option for option in options):
        # Of a file that an option names the name says too little.
        make(path)
        return path
    return _kept(path, make, CUDA, options)


@functools.cache
def nvcc_objects(*parts: tuple[str, str, bool]) -> Path:
    """A library of one object per part: its source, architectures as "80 90", whether it is relocatable.

    The device linker, where it has something to do, works for the architectures of the last part.
    """
    directory = Path(tempfile.mkdtemp(dir=scratch()))

    def make(path: Path) -> None:
        objects = []
        for number, (text, archs, relocatable) in enumerate(parts):
            source, target = directory / f"{number}.cu", directory / f"{number}.o"
            source.write_text(text)
            flags = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs.split()]
            subprocess.run(
                [*_nvcc(), "-c", f"-rdc={str(relocatable).lower()}", *flags, "-o", target, source], check=True
            )
            objects.append(target)
        if not parts[-1][2]:
            flags = ["-gencode=arch=compute_90,code=sm_90"]
        subprocess.run([*_nvcc(), "-shared", *flags, "-o", path, *objects], check=True)

    return _kept(directory / "lib.so", make, parts)


def cuda_library(name: str) -> Path:
    """One of LIBRARIES; do not write to it."""
    return nvcc_library(name, *LIBRARIES[name])


PTX = """.version 8.7
.target sm_{arch}
.address_size 64
.visible .entry store(.param .u64 p) {{
  .reg .u64 %a; ld.param.u64 %a, [p]; st.global.u32 [%a], {arch}; ret;
}}
"""


@functools.cache
def fatbin_of_cuda_12(option: str, cubins: tuple[int, ...], ptx: tuple[int, ...]) -> Path:
    """A library with a fat binary that CUDA 12.8's libnvfatbin made, as its nvcc does.

    `option` is one of libnvfatbin's: "-compress=false", "-compress-all".
    """
    packages = Path(sysconfig.get_path("purelib"))
    nvfatbin = ctypes.CDLL(str(packages / "nvidia" / "nvfatbin" / "lib" / "libnvfatbin.so.12"))
    directory = Path(tempfile.mkdtemp(dir=scratch()))
    handle, size = ctypes.c_void_p(), ctypes.c_size_t()

    def call(function: str, *arguments: object) -> None:
        status = getattr(nvfatbin, function)(*arguments)
        assert status == 0, f"{function}: {status}"

    call("nvFatbinCreate", ctypes.byref(handle), (ctypes.c_char_p * 1)(option.encode()), ctypes.c_size_t(1))
    for arch in cubins:
        (directory / "ptx").write_text(PTX.format(arch=arch))
        files = (f"-o={directory / 'cubin'}", str(directory / "ptx"))
        subprocess.run([tool("ptxas"), f"-arch=sm_{arch}", *files], check=True)
        code = (directory / "cubin").read_bytes()
        call("nvFatbinAddCubin", handle, code, ctypes.c_size_t(len(code)), str(arch).encode(), b"")
    for arch in ptx:
        code = PTX.format(arch=arch).encode() + b"\0"
        call("nvFatbinAddPTX", handle, code, ctypes.c_size_t(len(code)), str(arch).encode(), b"", b"")
    call("nvFatbinSize", handle, ctypes.byref(size))
    data = ctypes.create_string_buffer(size.value)
    call("nvFatbinGet", handle, data)
    call("nvFatbinDestroy", ctypes.byref(handle))
    (directory / "fatbin").write_bytes(data.raw)
    path = directory / "libfatbin.so"
    source = f'.section .nv_fatbin,"a"\n.align 8\n.incbin "{directory / "fatbin"}"\n'
    subprocess.run(
        [tool("gcc"), "-shared", "-nostdlib", "-x", "assembler", "-", "-o", path],
        input=source.encode(),
        check=True,
    )
    return path


def c_library(path: Path, source: str, *options: str) -> Path:
    """A library from C."""
    subprocess.run(
        [tool("gcc"), "-shared", "-fPIC", "-x", "c", "-", "-o", path, *options],
        input=source.encode(),
        check=True,
    )
    return path


def run_library(path: Path) -> int:
    """Load a library of ours in a process of its own and launch its kernels: a cudaError_t."""
    program = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).run(None))"
    result = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    return int(result.stdout)


def call_for_string(path: Path, function: str) -> str:
    """What a library's C function without arguments returns, as a string."""
    program = (
        "import ctypes, sys; function = getattr(ctypes.CDLL(sys.argv[1]), sys.argv[2]);"
        "function.restype = ctypes.c_char_p; print(function().decode())"
    )
    command = [sys.executable, "-c", program, str(path), function]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.removesuffix("\n")


def complaints(path: Path) -> str:
    """What readelf does not like about a file, all tables read."""
    result = subprocess.run([tool("readelf"), "-aW", path], capture_output=True, text=True, check=False)
    return "\n".join(line for line in result.stderr.splitlines() if "Gap in build notes" not in line)


def cuobjdump(path: Path, kind: Literal["elf", "ptx"] = "elf") -> list[str]:
    """The cubins or PTX that NVIDIA's own tool finds, as sm_90a, in order.

    It does not tell sm_100f from sm_100.
    """
    command = [str(tool("cuobjdump")), f"--list-{kind}", str(path)]
    output = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return re.findall(r"\.(sm_\d+a?)\.(?:cubin|ptx)", output)


def contents(path: Path) -> list[list[str]]:
    """The entries of each container, as "cubin sm_90"."""
    with open_elf(path) as elf:
        return [
            [f"{entry.kind} {entry.sm}" for entry in container.entries] for container in read_fatbins(elf)
        ]


def _of_kind(path: Path, wanted: str) -> list[str]:
    entries = [entry.split() for container in contents(path) for entry in container]
    return [sm.removesuffix("f") for kind, sm in entries if kind == wanted]


def cubins(path: Path) -> list[str]:
    """As cuobjdump() would list them."""
    return _of_kind(path, "cubin")


def ptx(path: Path) -> list[str]:
    """As cuobjdump() would list it."""
    return _of_kind(path, "ptx")


def section_bytes(elf: Elf, section: Section) -> bytes:
    """A section as it stands in the file."""
    if section.type == SHT_NOBITS:
        return b""
    return bytes(elf.data[section.offset : section.offset + section.size])
