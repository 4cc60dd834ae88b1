"""retarget_directory, over a package of the same shape as PyTorch's, and over the official wheel."""

import os
import re
import shutil
from pathlib import Path

import pytest
from binaries import (
    c_library,
    call_for_string,
    complaints,
    cubins,
    cuda_library,
    cuobjdump,
)

from pytorch_variants.errors import UserError
from pytorch_variants.retarget.installed import (
    architectures,
    retarget_directory,
)

FLAGS = 'const char *arch_flags(void) {{ return "{}"; }}'


def torch_package(path: Path, flags: str = "sm_75 sm_80 sm_90 sm_120 compute_120") -> Path:
    lib = path / "torch" / "lib"
    lib.mkdir(parents=True)
    c_library(lib / "libtorch_python.so", FLAGS.format(flags))
    for name in ("libtorch_cuda.so", "libtorch_nvshmem.so", "libcublasLt.so.12", "libcudart-1a2b.so.13"):
        shutil.copy(cuda_library("many"), lib / name)
    shutil.copy(cuda_library("suffixes"), lib / "libtorch_cuda_linalg.so")
    (lib / "libtorch_link.so").symlink_to("libtorch_cuda.so")
    (lib / "libtorch_script.so").write_text("INPUT(libtorch_cuda.so)")
    (lib / "libtorch_cpu.so").write_bytes((lib / "libtorch_python.so").read_bytes())
    return path / "torch"


def snapshot(torch: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((torch / "lib").iterdir())}


def flags_of(torch: Path) -> str:
    return call_for_string(torch / "lib" / "libtorch_python.so", "arch_flags")


def test_a_torch_package(tmp_path: Path) -> None:
    torch = torch_package(tmp_path)
    before, seen = snapshot(torch), list[tuple[int, int]]()
    assert architectures(torch) == (75, 80, 90, 120)
    results = retarget_directory(torch, [90], progress=lambda *done: seen.append(done))
    own = ["libtorch_cuda.so", "libtorch_cuda_linalg.so", "libtorch_nvshmem.so"]
    assert [result.path.name for result in results] == own
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1]
    assert flags_of(torch) == "sm_90"
    assert architectures(torch) == (90,)
    changed = {name for name, data in snapshot(torch).items() if data != before[name]}
    assert changed == {*own, "libtorch_link.so", "libtorch_python.so"}
    assert (torch / "lib" / "libtorch_link.so").is_symlink()
    once = snapshot(torch)
    assert len(retarget_directory(torch, [90], jobs=1)) == 3
    assert snapshot(torch) == once


@pytest.mark.parametrize(
    ("keep", "ptx", "flags"),
    [
        ([120], True, "sm_120 compute_120"),
        ([120], False, "sm_120"),
        ([90, 75], True, "sm_75 sm_90"),
        ([75, 80, 90, 120], True, "sm_75 sm_80 sm_90 sm_120 compute_120"),
    ],
)
def test_the_list_that_pytorch_gives(keep: list[int], ptx: bool, flags: str, tmp_path: Path) -> None:
    torch = torch_package(tmp_path)
    retarget_directory(torch, keep, keep_ptx=ptx)
    assert flags_of(torch) == flags


@pytest.mark.parametrize("keep", [[61], [90, 61]])
def test_an_architecture_that_is_not_there(keep: list[int], tmp_path: Path) -> None:
    torch = torch_package(tmp_path)
    before = snapshot(torch)
    message = re.escape("this PyTorch has no sm_61 code; it has sm_75, sm_80, sm_90, sm_120")
    with pytest.raises(UserError, match=message):
        retarget_directory(torch, keep)
    assert snapshot(torch) == before


def test_what_pytorch_says_without_having_it(tmp_path: Path) -> None:
    assert architectures(torch_package(tmp_path, "sm_70 sm_90a sm_120")) == (90, 120)


@pytest.mark.parametrize(
    ("flags", "keep", "message"),
    [
        ("no GPU", [90], "is this a CUDA build"),
        ("sm_90", [], "name at least one"),
    ],
)
def test_wrong_calls(flags: str, keep: list[int], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        retarget_directory(torch_package(tmp_path, flags), keep)


def test_no_torch_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no torch, torchvision or torchaudio in it"):
        retarget_directory(tmp_path, [90])


@pytest.fixture
def official(official_libraries: Path, tmp_path: Path) -> Path:
    lib = tmp_path / "torch" / "lib"
    lib.mkdir(parents=True)
    for path in official_libraries.iterdir():
        # retarget_directory replaces files, it never writes into one.
        os.link(path, lib / path.name)
    return tmp_path / "torch"


def test_the_official_wheel(official: Path) -> None:
    lib = official / "lib"
    available = architectures(official)
    assert 90 in available
    for name in ("libtorch_cuda.so", "libtorch_cuda_linalg.so"):
        assert cubins(lib / name) == cuobjdump(lib / name)
    results = {result.path.name: result for result in retarget_directory(official, [90])}
    assert {"libtorch_cuda.so", "libtorch_cuda_linalg.so"} <= set(results)
    for name, result in results.items():
        without = result.before - result.gpu_code_before
        assert result.after <= 1.01 * (without + result.gpu_code_after)
        assert set(result.kept) <= {"sm_90", "sm_90a"}
        assert cubins(lib / name) == cuobjdump(lib / name)
        assert complaints(lib / name) == ""
    once = {name: (lib / name).read_bytes() for name in results}
    retarget_directory(official, [90])
    assert all((lib / name).read_bytes() == data for name, data in once.items())
    assert architectures(official) == (90,)
