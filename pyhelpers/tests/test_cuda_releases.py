"""The table's CUDA floors and ceilings, held against the assemblers of the CUDA releases themselves.

The package registry has ptxas from 11.7 on. Floors before that are NVIDIA's release notes' word alone: what
is tested of them is that 11.7 has the architecture.
"""

import functools
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from binaries import scratch, tool

from pytorch_variants.hardware.spelling import version
from pytorch_variants.hardware.table import (
    Gpu,
    gpus,
)
from pytorch_variants.names.matrix import targets

# Assemblers are fetched.
pytestmark = pytest.mark.slow

# The releases between which the table says that something came or went, and a late one.
RELEASES = {
    "11.7": "nvidia-cuda-nvcc-cu11==11.7.*",
    "11.8": "nvidia-cuda-nvcc-cu11==11.8.*",
    "12.6": "nvidia-cuda-nvcc-cu12==12.6.*",
    "12.8": "nvidia-cuda-nvcc-cu12==12.8.*",
    "12.9": "nvidia-cuda-nvcc-cu12==12.9.*",
    "13.0": "nvidia-cuda-nvcc==13.0.*",
    "13.5": "nvidia-cuda-nvcc==13.5.*",
}


@functools.cache
def ptxas_targets(release: str) -> frozenset[int]:
    """The compute capabilities that a release's ptxas takes, 90 for 9.0."""
    directory = scratch() / f"cuda-{release}"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--dest", directory, RELEASES[release]], check=True)
    [wheel] = directory.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        [name] = (name for name in archive.namelist() if name.endswith("/bin/ptxas"))
        ptxas = Path(archive.extract(name, directory))
    ptxas.chmod(0o755)
    options = subprocess.run([ptxas, "--help"], capture_output=True, text=True, check=True).stdout
    return frozenset(int(digits) for digits in re.findall(r"'compute_(\d+)'", options))


KNOWN = {gpu.number for gpu in gpus().values()}


def table_targets(release: str) -> set[int]:
    """Those that the table says a release has."""
    return {gpu.number for gpu in gpus().values() if targets(release, gpu)}


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_targets_what_the_table_says(release: str) -> None:
    assert ptxas_targets(release) & KNOWN == table_targets(release)


@pytest.mark.parametrize("gpu", gpus().values(), ids=lambda gpu: gpu.name)
def test_bounds_lie_between_two_releases(gpu: Gpu) -> None:
    """That the releases above are enough: a bound's neighbour lacks the GPU."""
    releases = list(RELEASES)
    if version(gpu.cuda_min) > version(releases[0]):
        assert gpu.cuda_min in releases, "add it, and the release before it, to RELEASES"
        assert gpu.number not in ptxas_targets(releases[releases.index(gpu.cuda_min) - 1])
    if gpu.cuda_max:
        assert gpu.cuda_max in releases, "add it, and the release after it, to RELEASES"
        assert gpu.number in ptxas_targets(gpu.cuda_max)
        assert gpu.number not in ptxas_targets(releases[releases.index(gpu.cuda_max) + 1])


def test_nvcc_agrees_with_its_assembler() -> None:
    options = ("--list-gpu-arch", "--version")
    listed, said = (subprocess.check_output([tool("nvcc"), option], text=True) for option in options)
    release = re.search(r"release (\d+\.\d+)", said)
    assert release
    assert {int(digits) for digits in re.findall(r"compute_(\d+)", listed)} & KNOWN == table_targets(
        release[1]
    )
