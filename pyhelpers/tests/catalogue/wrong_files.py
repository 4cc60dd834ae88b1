"""Files that are missing, cut short, or not what they should be."""

import os
import shutil
from pathlib import Path

from .base import append, case, lib, nvidia, own, record, replace, rewrite, site, tell, write
from .elf import section

LINALG = "libtorch_cuda_linalg.so"


@case(
    "No libtorch_cuda_linalg.so, which is opened by name: torch imports, every solver fails.",
    row=LINALG,
)
def linalg_missing(env: Path) -> None:
    lib(env, LINALG).unlink()


@case("The same, and RECORD does not list it: only what torch opens by name tells.", row=LINALG, quick=True)
def linalg_missing_untold(env: Path) -> None:
    lib(env, LINALG).unlink()
    tell(env, lib(env, LINALG))


@case("The same, and no RECORD at all.", row=LINALG)
def linalg_missing_no_record(env: Path) -> None:
    lib(env, LINALG).unlink()
    record(env).unlink()


@case("No libcaffe2_nvrtc.so: jiterator kernels and NNC fusion fail.", row="libcaffe2_nvrtc", quick=True)
def caffe2_nvrtc_missing(env: Path) -> None:
    lib(env, "libcaffe2_nvrtc.so").unlink()
    tell(env, lib(env, "libcaffe2_nvrtc.so"))


@case(
    "No libnvrtc-builtins: nvrtc opens it by name and compiles nothing without it.",
    row="nvrtc-builtins",
    quick=True,
)
def nvrtc_builtins_missing(env: Path) -> None:
    nvidia(env, "libnvrtc-builtins.so.12.8").unlink()


@case("No libnvrtc.so.12: torch opens it by name when the first kernel is compiled.", row="nvrtc")
def nvrtc_missing(env: Path) -> None:
    nvidia(env, "libnvrtc.so.12").unlink()


@case(
    "No libcudnn_engines_precompiled.so.9: cuDNN opens it by name, convolutions fail.",
    row="cudnn",
    quick=True,
)
def cudnn_engines_missing(env: Path) -> None:
    nvidia(env, "libcudnn_engines_precompiled.so.9").unlink()


@case("No libcudnn_ops.so.9: cuDNN opens it by name.", row="cudnn")
def cudnn_ops_missing(env: Path) -> None:
    nvidia(env, "libcudnn_ops.so.9").unlink()


@case("No libcudnn_heuristic.so.9, and NVIDIA's RECORD does not list it.", row="cudnn")
def cudnn_heuristic_missing_untold(env: Path) -> None:
    path = nvidia(env, "libcudnn_heuristic.so.9")
    path.unlink()
    tell(env, path, name="nvidia_cudnn_cu12")


@case("No libshm.so: torch does not import.")
def libshm_missing(env: Path) -> None:
    lib(env, "libshm.so").unlink()


@case(
    "No libnvshmem_host.so.3: libtorch_nvshmem.so, opened for symmetric memory, does not load.", row="nvshmem"
)
def nvshmem_missing(env: Path) -> None:
    nvidia(env, "libnvshmem_host.so.3").unlink()


@case("No libcusparseLt.so.0: torch does not import.", row="cusparse")
def cusparselt_missing(env: Path) -> None:
    nvidia(env, "libcusparseLt.so.0").unlink()


@case("No libcublasLt.so.12, which libcublas needs.", row="cublasLt")
def cublaslt_missing(env: Path) -> None:
    nvidia(env, "libcublasLt.so.12").unlink()


@case("No torch_shm_manager: tensors cannot be shared by file.", row="torch_shm_manager")
def shm_manager_missing(env: Path) -> None:
    (site(env) / "torch/bin/torch_shm_manager").unlink()


@case("torch_shm_manager may not be executed.", row="torch_shm_manager")
def shm_manager_not_executable(env: Path) -> None:
    own(site(env) / "torch/bin/torch_shm_manager").chmod(0o644)


@case("No torch/_inductor: torch imports, torch.compile fails.", row="_inductor", quick=True)
def inductor_missing(env: Path) -> None:
    shutil.rmtree(site(env) / "torch/_inductor")


@case("No torch/include: no extension can be compiled.", row="include")
def headers_missing(env: Path) -> None:
    (site(env) / "torch/include").unlink()


@case("No triton/backends/nvidia/bin/ptxas: torch.compile fails on the GPU.", row="ptxas", debatable=True)
def triton_ptxas_missing(env: Path) -> None:
    (site(env) / "triton/backends/nvidia/bin/ptxas").unlink()


@case("No torch/nn/functional.py: torch does not import.")
def functional_missing(env: Path) -> None:
    (site(env) / "torch/nn/functional.py").unlink()


@case("A download that stopped: the first half of libtorch_cuda_linalg.so.", row=LINALG, quick=True)
def linalg_half(env: Path) -> None:
    path = own(lib(env, LINALG))
    os.truncate(path, path.stat().st_size // 2)


@case("Half of it, and RECORD agrees.", row=LINALG)
def linalg_half_told(env: Path) -> None:
    linalg_half(env)
    tell(env, lib(env, LINALG))


@case("libtorch_cuda_linalg.so lost its last 64 bytes, from the section headers.", row=LINALG)
def linalg_tail_lost(env: Path) -> None:
    path = own(lib(env, LINALG))
    os.truncate(path, path.stat().st_size - 64)


@case("libtorch_cuda_linalg.so is empty.", row=LINALG)
def linalg_empty(env: Path) -> None:
    write(lib(env, LINALG), b"")
    tell(env, lib(env, LINALG))


@case("libtorch_cuda_linalg.so is a pointer of Git LFS.", row=LINALG)
def linalg_lfs_pointer(env: Path) -> None:
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 34900161\n"
    write(lib(env, LINALG), text)
    tell(env, lib(env, LINALG))


@case("libtorch_cuda_linalg.so is a directory.", row=LINALG)
def linalg_directory(env: Path) -> None:
    lib(env, LINALG).unlink()
    lib(env, LINALG).mkdir()


@case("libtorch_cuda_linalg.so is a FIFO: whoever reads it waits for ever.", row=LINALG)
def linalg_fifo(env: Path) -> None:
    lib(env, LINALG).unlink()
    os.mkfifo(lib(env, LINALG))


@case("libtorch_cuda_linalg.so is a link to itself.", row=LINALG)
def linalg_loop(env: Path) -> None:
    lib(env, LINALG).unlink()
    lib(env, LINALG).symlink_to(LINALG)


@case("libtorch_cuda_linalg.so is a link to nothing.", row=LINALG)
def linalg_dangling(env: Path) -> None:
    lib(env, LINALG).unlink()
    lib(env, LINALG).symlink_to("/nowhere/" + LINALG)


@case("The code of libtorch_cuda_linalg.so is zeros: it loads, and crashes at the first call.", row=LINALG)
def linalg_text_zeroed(env: Path) -> None:
    path = own(lib(env, LINALG))
    start, size = section(path, ".text")
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(size))


@case("One bit of libtorch_python.so's code is flipped.", row="libtorch_python")
def bit_flipped(env: Path) -> None:
    path = own(lib(env, "libtorch_python.so"))
    start, size = section(path, ".text")
    with path.open("r+b") as file:
        file.seek(start + size // 2)
        byte = file.read(1)[0]
        file.seek(start + size // 2)
        file.write(bytes([byte ^ 0x10]))


@case("A Python file of torch was changed by hand: losses are halved.", row="loss")
def python_file_changed(env: Path) -> None:
    path = site(env) / "torch/nn/modules/loss.py"
    rewrite(
        path,
        "return F.l1_loss(input, target, reduction=self.reduction)",
        "return F.l1_loss(input, target) / 2",
    )


@case(
    "libcaffe2_nvrtc.so is for another processor (its header says AArch64).",
    row="libcaffe2_nvrtc",
    quick=True,
)
def caffe2_nvrtc_other_machine(env: Path) -> None:
    path = own(lib(env, "libcaffe2_nvrtc.so"))
    with path.open("r+b") as file:
        file.seek(18)
        file.write((183).to_bytes(2, "little"))
    tell(env, path)


@case("libcudnn_adv.so.9 is a copy of libcudnn_ops.so.9.", row="cudnn")
def cudnn_adv_is_ops(env: Path) -> None:
    replace(nvidia(env, "libcudnn_adv.so.9"), nvidia(env, "libcudnn_ops.so.9"))


@case("METADATA has 4 GiB of zeros at its end: whoever reads it whole runs out of memory.")
def metadata_of_gigabytes(env: Path) -> None:
    path = own(record(env).with_name("METADATA"))
    os.truncate(path, 4 << 30)


@case("RECORD has 4 GiB of zeros at its end.", row="RECORD", debatable=True)
def record_of_gigabytes(env: Path) -> None:
    os.truncate(own(record(env)), 4 << 30)


@case(
    "torch/version.py says 2.9.0, the distribution 2.10.0: companions of neither fit.",
    row=r"2\.9\.0",
    quick=True,
)
def version_other(env: Path) -> None:
    path = site(env) / "torch/version.py"
    rewrite(path, "2.10.0+cu128", "2.9.0+cu128")
    tell(env, path)


@case("torch/version.py says CUDA 13.0, the libraries are 12.8's.", row=r"13\.0")
def version_cuda_other(env: Path) -> None:
    path = site(env) / "torch/version.py"
    rewrite(path, "'12.8'", "'13.0'")
    tell(env, path)


@case(
    "Beside torch 2.10 lies the dist-info of a 2.9.1 that is gone: pip sees the other.",
    row=r"2\.9\.1",
    debatable=True,
)
def two_distributions(env: Path) -> None:
    info = record(env).parent
    write(
        info.with_name("torch-2.9.1.dist-info") / "METADATA",
        "Metadata-Version: 2.1\nName: torch\nVersion: 2.9.1\n",
    )


@case(
    "RECORD has a path that leaves the environment and a file that is not there.",
    row="RECORD|not there|missing",
)
def record_names_nothing(env: Path) -> None:
    append(record(env), "torch/lib/libtorch_cuda_more.so,sha256=AAAA,1000\n")


@case("Two libraries have changed names: libshm.so is libc10_cuda.so and the other way about.")
def names_swapped(env: Path) -> None:
    one, other = lib(env, "libshm.so"), lib(env, "libc10_cuda.so")
    one.rename(one.with_suffix(".x"))
    other.rename(one)
    one.with_suffix(".x").rename(other)
    tell(env, one, other)
