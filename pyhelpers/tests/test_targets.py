"""The targets against PyTorch's own build script, the one that ships in its wheel."""

import subprocess
from pathlib import Path

import pytest
from binaries import tool

from pytorch_variants.hardware.table import (
    Gpu,
    gpus,
)

SCRIPT = "share/cmake/Caffe2/Modules_CUDA_fix/upstream/FindCUDA/select_compute_arch.cmake"


@pytest.fixture(scope="session")
def select_compute_arch(environment: Path) -> Path:
    [torch] = environment.glob("lib/python3*/site-packages/torch")
    return torch / SCRIPT


def gencode(script: Path, target: str, directory: Path) -> str:
    """What PyTorch's CMake script makes of a TORCH_CUDA_ARCH_LIST."""
    project = directory / "flags.cmake"
    project.write_text(
        f'set(CUDA_VERSION "13.0")\ninclude("{script}")\n'
        f'cuda_select_nvcc_arch_flags(flags "{target}")\nmessage(STATUS "${{flags}}")\n'
    )
    result = subprocess.run([tool("cmake"), "-P", project], capture_output=True, text=True, check=False)
    return result.stdout + result.stderr


@pytest.mark.parametrize("gpu", gpus().values(), ids=gpus())
def test_the_dotted_target_gives_machine_code_of_this_architecture(
    select_compute_arch: Path, gpu: Gpu, tmp_path: Path
) -> None:
    flags = gencode(select_compute_arch, gpu.target, tmp_path)
    assert f"-gencode;arch=compute_{gpu.number},code=sm_{gpu.number}" in flags


def test_no_other_spelling_is_taken(select_compute_arch: Path, tmp_path: Path) -> None:
    for spelling in ("sm_90", "sm90"):
        assert "Unknown CUDA Architecture Name" in gencode(select_compute_arch, spelling, tmp_path)
