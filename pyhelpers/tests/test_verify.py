"""The static verification over a real build, and over that build made wrong."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FLAGSHIP

from pytorch_variants.names import parse_name
from pytorch_variants.report import from_json, to_json
from pytorch_variants.verify import verify

ORIGIN = "official wheel, retargeted"


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytorch_variants", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def wrong(environment: Path, variant: str = FLAGSHIP, origin: str = ORIGIN) -> dict[str, str]:
    """What a verification finds wrong, by check."""
    findings = verify(environment, parse_name(variant), origin).findings
    return {row.check: f"{row.expected} | {row.found}" for row in findings if row.status == "wrong"}


@pytest.fixture
def copy(environment: Path, tmp_path: Path) -> Path:
    """A copy of the environment whose files may be replaced: links to the same packages."""
    shutil.copytree(environment, tmp_path / "env", symlinks=True)
    for directory, _, _ in os.walk(tmp_path / "env"):
        Path(directory).chmod(0o755)
    return tmp_path / "env"


def library(environment: Path, name: str = "libtorch_cuda.so") -> Path:
    [found] = environment.glob(f"lib/python3*/site-packages/torch/lib/{name}")
    return found


def own_file(path: Path) -> Path:
    """Put a file of one's own in place of a link."""
    content = path.resolve()
    path.unlink()
    shutil.copyfile(content, path)
    return path


def test_the_right_build_passes(environment: Path) -> None:
    report = verify(environment, parse_name(FLAGSHIP), ORIGIN)
    assert report.passed
    assert from_json(to_json(report)) == report
    checks = {row.check for row in report.findings}
    assert checks >= {"GPU code", "CUDA build", "import torch", "architecture flags"}


def test_another_architecture(environment: Path) -> None:
    found = wrong(environment, "pytorch-sm80-avx512")
    assert found["GPU code"] == "sm_80 | sm_90"
    assert found["architecture flags"] == "sm_80 | sm_90"


def test_an_architecture_is_missing(environment: Path) -> None:
    assert wrong(environment, "pytorch-sm80-sm90-avx512")["GPU code"] == "sm_80 sm_90 | sm_90"


def test_another_cuda_or_python(environment: Path) -> None:
    found = wrong(environment, "pytorch-python313-cuda12_9-sm90-avx512")
    assert found == {"Python": "3.13 | 3.11", "CUDA version": "12.9 | 12.8"}


def test_a_cuda_build_named_cpu(environment: Path) -> None:
    assert {"GPU code", "CUDA build", "CUDA version"} <= set(wrong(environment, "pytorch-cpu-avx512"))


def test_flags_that_a_compiled_build_lacks(environment: Path) -> None:
    assert "without -mavx512f" in wrong(environment, origin="compiled from source")["CPU flags"]


def test_a_library_without_gpu_code(copy: Path) -> None:
    main = library(copy)
    main.unlink()
    main.symlink_to(library(copy, "libtorch_cpu.so").resolve())
    assert wrong(copy)["CUDA build"] == "yes | no"


def test_a_truncated_library(copy: Path) -> None:
    linalg = own_file(library(copy, "libtorch_cuda_linalg.so"))
    os.truncate(linalg, linalg.stat().st_size // 2)
    assert "truncated" in wrong(copy)["GPU code"]


def test_an_empty_library(copy: Path) -> None:
    os.truncate(own_file(library(copy, "libtorch_cuda_linalg.so")), 0)
    assert "empty" in wrong(copy)["GPU code"]


def test_a_torch_that_does_not_import(copy: Path) -> None:
    library(copy, "libc10.so").unlink()
    assert "libc10.so" in wrong(copy)["import torch"]


def test_exit_codes_and_forms(environment: Path, tmp_path: Path) -> None:
    right = command("verify", environment, "--variant", FLAGSHIP, "--origin", ORIGIN, "--json")
    assert right.returncode == 0
    assert json.loads(right.stdout)["passed"] is True
    assert json.loads(right.stdout)["schema"] == 1
    assert command("verify", environment, "--variant", "pytorch-sm80-avx2").returncode == 1
    for arguments in (
        (tmp_path, "--variant", FLAGSHIP),
        (tmp_path / "nothing", "--variant", FLAGSHIP),
        (environment, "--variant", "pytorch-sm91-avx512"),
    ):
        result = command("verify", *arguments)
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1
        assert "Traceback" not in result.stderr
