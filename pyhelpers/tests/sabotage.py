"""Ways to make a correct build wrong, each from real files."""

import os
import shutil
import struct
import subprocess
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from binaries import c_library, cuda_library, nvcc_library, nvcc_objects, tool

from pytorch_variants.binary.elf import Elf
from pytorch_variants.retarget.library import retarget_file

MAIN, LINALG, NVSHMEM = "libtorch_cuda.so", "libtorch_cuda_linalg.so", "libtorch_nvshmem.so"


def link_all(source: Path, target: Path, *own: str) -> None:
    """A directory of links to what another holds, but for the entries that the caller makes itself."""
    target.mkdir(parents=True)
    for path in source.iterdir():
        if path.name not in own:
            (target / path.name).symlink_to(path)


@dataclass(frozen=True)
class Sabotage:
    """An environment that may be changed: directories of its own, links to the right build's files."""

    root: Path
    official: Path

    @property
    def packages(self) -> Path:
        return self.torch.parent

    @property
    def torch(self) -> Path:
        [found] = self.root.glob("lib/python3*/site-packages/torch")
        return found

    def library(self, name: str) -> Path:
        return self.torch / "lib" / name

    def replace(self, name: str, source: Path) -> Path:
        """Put a copy of a file in a library's place."""
        target = self.library(name)
        target.unlink()
        shutil.copyfile(source, target)
        return target

    def own(self, name: str) -> Path:
        """A copy of the right library in its own place, to be written to."""
        return self.replace(name, self.library(name).resolve())

    def patch(self, name: str, change: Callable[[Elf], tuple[int, bytes]]) -> None:
        """Overwrite some bytes of a library."""
        path = self.own(name)
        offset, data = change(Elf.parse(path.read_bytes()))
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)

    def retarget(self, name: str, *keep: int, ptx: bool = False) -> None:
        """The official library with the code of these architectures."""
        self.library(name).unlink()
        retarget_file(self.official / name, self.library(name), frozenset(keep), keep_ptx=ptx)


def section(elf: Elf, name: str) -> int:
    found = elf.section(name)
    assert found
    return found.offset


def extra_architecture(wrong: Sabotage) -> None:
    wrong.retarget(MAIN, 80, 90)


def extra_in_a_small_library(wrong: Sabotage) -> None:
    wrong.retarget(LINALG, 90, 120)


def another_architecture(wrong: Sabotage) -> None:
    wrong.retarget(MAIN, 80)


def no_code_at_all(wrong: Sabotage) -> None:
    wrong.retarget(MAIN)


def not_retargeted(wrong: Sabotage) -> None:
    wrong.replace(LINALG, wrong.official / LINALG)


def ptx_alone(wrong: Sabotage) -> None:
    wrong.replace(MAIN, cuda_library("ptx"))


def ptx_beside(wrong: Sabotage) -> None:
    wrong.replace(NVSHMEM, nvcc_library("beside", "-gencode=arch=compute_90,code=[sm_90,compute_90]"))


def specific_code_alone(wrong: Sabotage) -> None:
    wrong.replace(MAIN, nvcc_library("specific", "-gencode=arch=compute_90a,code=sm_90a"))


def an_object_without_code(wrong: Sabotage) -> None:
    parts = (("one", "90"), ("two", "80 90"), ("three", "80"))
    wrong.replace(
        MAIN,
        nvcc_objects(
            *((f"__global__ void {name}(float *x) {{ x[0] += 1; }}", archs, False) for name, archs in parts)
        ),
    )
    for name in (LINALG, NVSHMEM):
        wrong.retarget(name, 80, 90)


def without_cuda(wrong: Sabotage) -> None:
    for name in (MAIN, LINALG, NVSHMEM):
        wrong.library(name).unlink()


def another_library_by_its_name(wrong: Sabotage) -> None:
    wrong.replace(MAIN, wrong.library("libc10.so").resolve())


def corrupt_container(wrong: Sabotage) -> None:
    wrong.patch(LINALG, lambda elf: (section(elf, ".nv_fatbin"), b"\0\1\2\3"))


def container_past_its_section(wrong: Sabotage) -> None:
    wrong.patch(LINALG, lambda elf: (section(elf, ".nv_fatbin") + 8, struct.pack("<Q", 1 << 40)))


def entry_past_its_container(wrong: Sabotage) -> None:
    wrong.patch(LINALG, lambda elf: (section(elf, ".nv_fatbin") + 24, struct.pack("<Q", 1 << 40)))


def unknown_kind_of_entry(wrong: Sabotage) -> None:
    wrong.patch(LINALG, lambda elf: (section(elf, ".nv_fatbin") + 16, b"\x63\0"))


def section_past_the_file(wrong: Sabotage) -> None:
    def change(elf: Elf) -> tuple[int, bytes]:
        found = elf.section(".nv_fatbin")
        assert found
        return elf.sections_offset + found.index * 64 + 32, struct.pack("<Q", 1 << 50)

    wrong.patch(LINALG, change)


def code_in_an_odd_section(wrong: Sabotage) -> None:
    """Code for one more GPU; no section header says that it is GPU code, and the loader asks for none."""
    wrong.retarget(NVSHMEM, 80, 90)
    path = wrong.library(NVSHMEM)
    path.write_bytes(path.read_bytes().replace(b"\0.nv_fatbin\0", b"\0.my_fatbin\0"))


def truncated(wrong: Sabotage) -> None:
    path = wrong.own(LINALG)
    os.truncate(path, path.stat().st_size // 2)


def empty(wrong: Sabotage) -> None:
    os.truncate(wrong.own(LINALG), 0)


def not_a_library(wrong: Sabotage) -> None:
    wrong.library(LINALG).unlink()
    wrong.library(LINALG).write_text("version https://git-lfs.github.com/spec/v1\n")


def dangling(wrong: Sabotage) -> None:
    wrong.library(LINALG).unlink()
    wrong.library(LINALG).symlink_to("/nowhere/libtorch_cuda_linalg.so")


def of_32_bits(wrong: Sabotage) -> None:
    wrong.patch("libshm.so", lambda elf: (4, b"\1"))


def of_another_machine(wrong: Sabotage) -> None:
    wrong.patch("libshm.so", lambda elf: (18, struct.pack("<H", 183)))


def too_many_instructions(wrong: Sabotage) -> None:
    source = "void _ZN3c103addEPd(double *x) { for (int i = 0; i < 64; i++) x[i] += 1; }"
    wrong.library("libc10.so").unlink()
    c_library(wrong.library("libc10.so"), source, "-O3", "-mavx512f", "-mprefer-vector-width=512")


def nothing(wrong: Sabotage) -> None:
    """The build is right; it is called something else."""


def lying_flags(wrong: Sabotage) -> None:
    def change(elf: Elf) -> tuple[int, bytes]:
        found = elf.section(".rodata")
        assert found
        return bytes(elf.data).find(b"sm_90\0", found.offset, found.offset + found.size), b"sm_80"

    wrong.patch("libtorch_python.so", change)


def a_library_missing(wrong: Sabotage) -> None:
    wrong.library("libc10.so").unlink()


def own_directory(wrong: Sabotage, *parts: str) -> Path:
    """A directory of the wheels that are linked in whole, with files that may be taken away."""
    for depth in range(1, len(parts) + 1):
        directory = wrong.packages.joinpath(*parts[:depth])
        if directory.is_symlink():
            source = directory.resolve()
            directory.unlink()
            link_all(source, directory)
    return wrong.packages.joinpath(*parts)


def cudnn_missing(wrong: Sabotage) -> None:
    (own_directory(wrong, "nvidia", "cudnn", "lib") / "libcudnn.so.9").unlink()


def cudnn_truncated(wrong: Sabotage) -> None:
    path = own_directory(wrong, "nvidia", "cudnn", "lib") / "libcudnn.so.9"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[: len(content) // 2])


def another_cuda_runtime(wrong: Sabotage) -> None:
    """CUDA 13's, which came with the tests' nvcc, by the name of 12.8's."""
    runtime = Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13" / "lib" / "libcudart.so.13"
    directory = own_directory(wrong, "nvidia", "cuda_runtime", "lib")
    (directory / "libcudart.so.12").unlink()
    shutil.copyfile(runtime, directory / "libcudart.so.12")


def runpath_to_nowhere(wrong: Sabotage) -> None:
    subprocess.run([tool("patchelf"), "--set-rpath", "/nowhere", wrong.own(LINALG)], check=True)


def second_torch_of_another_python(wrong: Sabotage) -> None:
    (wrong.root / "lib" / "python3.99" / "site-packages").mkdir(parents=True)
    (wrong.root / "lib" / "python3.99" / "site-packages" / "torch").symlink_to(wrong.torch)


def second_torch_installed_over(wrong: Sabotage) -> None:
    shutil.copytree(next(wrong.packages.glob("torch-*.dist-info")), wrong.packages / "torch-2.9.1.dist-info")


def companion(wrong: Sabotage, *options: str, source: str = "void f(void) {}") -> Path:
    """A torchvision of one library that needs libc10.so."""
    package = wrong.packages / "torchvision"
    package.mkdir()
    (package / "__init__.py").touch()
    link = ("-Wl,--no-as-needed", f"-L{wrong.library('libc10.so').parent}", "-l:libc10.so")
    c_library(package / "_C.so", source, *link, "-Wl,--allow-shlib-undefined", *options)
    return package / "_C.so"


def second_torch_in_a_companion(wrong: Sabotage) -> None:
    shutil.copyfile(wrong.library("libc10.so"), companion(wrong).parent / "libc10.so")


def companion_of_another_torch(wrong: Sabotage) -> None:
    other = wrong.root / "other" / "torch" / "lib"
    other.mkdir(parents=True)
    shutil.copyfile(wrong.library("libc10.so"), other / "libc10.so")
    companion(wrong, f"-Wl,-rpath,{other}")


def asking(wrong: Sabotage, requires: str, name: str = "torchvision", record: str = "") -> None:
    """Metadata of a companion that requires something of torch."""
    metadata = wrong.packages / f"{name.replace('-', '_')}-0.24.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.24.1\nRequires-Dist: {requires}\n\nText.\n"
    )
    if record:
        (metadata / "RECORD").write_text(record)


def companion_that_asks_for_another(wrong: Sabotage) -> None:
    companion(wrong)
    asking(wrong, "torch (==2.9.1)")


def companion_of_another_name_that_asks_for_another(wrong: Sabotage) -> None:
    """What RECORD alone gives away: the distribution has another name than the package."""
    companion(wrong)
    asking(wrong, "torch==2.9.1", "fast-kernels", "torchvision/__init__.py,,0\n")


def companion_with_code(wrong: Sabotage, code: str) -> None:
    (companion(wrong).parent / "__init__.py").write_text(code)


def companion_that_exits(wrong: Sabotage) -> None:
    companion_with_code(wrong, "import sys\nsys.exit(3)\n")


def companion_that_ends_the_process(wrong: Sabotage) -> None:
    companion_with_code(wrong, "import os\nos._exit(0)\n")


def companion_that_brings_another_torch(wrong: Sabotage) -> None:
    other = wrong.root / "other" / "torch"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    companion_with_code(
        wrong, f"import sys, torch\ntorch.__path__.insert(0, {str(other)!r})\nraise ImportError('nothing')\n"
    )


def torch_in_front(wrong: Sabotage) -> None:
    """Another torch's Python files, over this one's libraries, put in front by a .pth file."""
    other = wrong.root / "other" / "torch"
    link_all(wrong.torch, other, "version.py")
    (other / "version.py").write_text((wrong.torch / "version.py").read_text())
    (wrong.packages / "front.pth").write_text(f"import sys; sys.path.insert(0, {str(other.parent)!r})\n")


def a_changed_python_file(wrong: Sabotage) -> None:
    path = wrong.torch / "version.py"
    text = path.read_text()
    path.unlink()
    path.write_text(text.replace("debug = False", "debug = None "))


def a_part_missing(wrong: Sabotage) -> None:
    (own_directory(wrong, "nvidia", "cuda_nvrtc", "lib") / "libnvrtc-builtins.so.12.8").unlink()


def linalg_missing(wrong: Sabotage) -> None:
    wrong.library(LINALG).unlink()


def without_record(wrong: Sabotage, name: str = "torch") -> None:
    [directory] = wrong.packages.glob(f"{name}-*.dist-info")
    own = own_directory(wrong, directory.name)
    (own / "RECORD").unlink()


def linalg_missing_without_a_record(wrong: Sabotage) -> None:
    linalg_missing(wrong)
    without_record(wrong)


def an_empty_part_of_cudnn(wrong: Sabotage) -> None:
    path = own_directory(wrong, "nvidia", "cudnn", "lib") / "libcudnn_heuristic.so.9"
    path.unlink()
    path.touch()


def a_part_that_does_not_load(wrong: Sabotage) -> None:
    """Of another release: it has not what its users look for."""
    path = own_directory(wrong, "nvidia", "cudnn", "lib") / "libcudnn_heuristic.so.9"
    path.unlink()
    c_library(path, "extern void nobody_has_it(void); void f(void) { nobody_has_it(); }")
    without_record(wrong, "nvidia_cudnn_cu12")


def a_looping_tree_with_a_fifo(wrong: Sabotage) -> None:
    for name in ("one", "two"):
        (wrong.torch / name).symlink_to(".")
    os.mkfifo(wrong.torch / "lib" / "fifo")


# What is right, and looks odd.


def right_companion(wrong: Sabotage) -> None:
    companion(wrong)


def right_companion_with_a_legacy_extra(wrong: Sabotage) -> None:
    companion(wrong)
    asking(wrong, 'torch==1.13 ; extra == "legacy"')


def right_companion_that_prints_and_forks(wrong: Sabotage) -> None:
    code = """
import atexit, os, sys, threading, time
print('{"done": true}', flush=True)
atexit.register(print, "goodbye")
threading.Thread(target=time.sleep, args=(1000,)).start()
if os.fork() == 0:
    sys.stdout.write("child")
"""
    companion_with_code(wrong, code)


def right_companion_for_several_releases(wrong: Sabotage) -> None:
    """As torchcodec: a library for each release of FFmpeg, and none of them is on this machine."""
    package = companion(wrong).parent
    link = ("-Wl,--no-as-needed", f"-L{wrong.library('libc10.so').parent}", "-l:libc10.so")
    for release in (58, 59, 60):
        stub = package / f"libavutil.so.{release}"
        c_library(stub, "int x;", f"-Wl,-soname,{stub.name}")
        foreign = (f"-L{package}", f"-l:{stub.name}")
        c_library(package / f"core{release}.so", "int y;", *link, "-Wl,--allow-shlib-undefined", *foreign)
        stub.unlink()
    tries = """
import ctypes, pathlib
problems = []
for release in (58, 59, 60):
    try:
        ctypes.CDLL(str(pathlib.Path(__file__).with_name(f"core{release}.so")))
    except OSError as error:
        problems.append(str(error))
raise RuntimeError("Could not load any:\\n" + "\\n".join(problems))
"""
    (package / "__init__.py").write_text(tries)


def companion_that_does_not_load(wrong: Sabotage) -> None:
    companion(
        wrong, source="extern void _ZN3c1012not_in_thereEv(void); void f(void) { _ZN3c1012not_in_thereEv(); }"
    )


def companion_for_another_gpu(wrong: Sabotage) -> None:
    package = companion(wrong).parent
    link = ("-Xlinker=--no-as-needed", f"-L{wrong.library('libc10.so').parent}", "-l:libc10.so")
    shutil.copyfile(
        nvcc_library("companion", "-gencode=arch=compute_80,code=sm_80", *link), package / "image.so"
    )
