"""The static verification over a real build, and over that build made wrong."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import FLAGSHIP, Nix
from test_report import SCHEMA

from pytorch_variants.errors import UserError
from pytorch_variants.findings import (
    Origin,
    from_json,
    to_json,
)
from pytorch_variants.names.variant import parse_name
from pytorch_variants.verify import runtime
from pytorch_variants.verify.runtime import verify_runtime
from pytorch_variants.verify.static import verify

ORIGIN = Origin.WHEEL


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytorch_variants", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def wrong(environment: Path, variant: str = FLAGSHIP, origin: Origin = ORIGIN) -> dict[str, str]:
    """What a verification finds wrong, by check."""
    findings = verify(environment, parse_name(variant), origin).findings
    return {row.check: f"{row.expected_text} | {row.found_text}" for row in findings if row.status == "wrong"}


def test_the_right_build_passes(environment: Path) -> None:
    report = verify(environment, parse_name(FLAGSHIP), ORIGIN)
    assert report.passed
    assert from_json(to_json(report)) == report
    checks = {row.check for row in report.findings}
    assert checks >= {"GPU code", "CUDA build", "import torch", "architecture flags"}


def test_another_architecture(environment: Path) -> None:
    found = wrong(environment, "pytorch-sm80-avx512")
    assert found["GPU code"] == "sm_80 | sm_90: no code for sm_80"
    assert found["architecture flags"] == "sm_80 | sm_90"


def test_another_cuda_or_python(environment: Path) -> None:
    found = wrong(environment, "pytorch-python313-cuda12_9-sm90-avx512")
    assert found == {"Python": "3.13 | 3.11", "CUDA version": "12.9 | 12.8"}


def test_the_companions_pass_beside_it(embedded: Nix) -> None:
    report = from_json((embedded.build(f".#{FLAGSHIP}.tests.companions") / "report.json").read_text())
    assert report.passed
    rows = {(row.check, row.where.split(",")[0]) for row in report.findings if row.status == "ok"}
    assert {("companion", "torchvision"), ("companion", "torchaudio")} <= rows


def test_the_runtime_part_without_a_gpu(environment: Path) -> None:
    """A build without CUDA is tried on the CPU; one with CUDA cannot be tried on a machine without a GPU."""
    right = command("verify", environment, "--variant", "pytorch-cpu-avx2", "--runtime", "--json")
    assert right.returncode == 0, right.stdout
    rows = {row["check"]: row for row in json.loads(right.stdout)["findings"]}
    assert {"matmul fp32", "conv2d", "attention", "sort", "svdvals", "random numbers"} <= set(rows)
    assert rows["sort"]["expected"] == ["equal to float64"]
    other = command("verify", environment, "--variant", FLAGSHIP, "--runtime")
    assert other.returncode == 2
    assert other.stderr.startswith("pytorch-variants: no GPU to check on: ")
    assert len(other.stderr.splitlines()) == 1


def test_a_driver_without_its_libraries(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel's module is loaded, but PyTorch finds no libcuda.so.1: another machine is no way out."""
    module = tmp_path / "version"
    module.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05\n")
    monkeypatch.setattr(runtime, "_MODULE", module)
    with pytest.raises(UserError, match=r"NVIDIA's driver is loaded, .* README"):
        verify_runtime(environment, parse_name(FLAGSHIP), Origin.SOURCE)


def test_a_wrong_result_is_a_finding(environment: Path, tmp_path: Path) -> None:
    """A torch whose softmax is a little off, as a miscompiled kernel would make it."""
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin" / "python"
    patch = """
import sys, torch
right = torch.softmax
torch.softmax = lambda x, dim: right(x, dim) * (1.01 if x.dtype == torch.float32 else 1)
"""
    (tmp_path / "patch.py").write_text(patch)
    launch = f"exec(open({str(tmp_path / 'patch.py')!r}).read()); "
    python.write_text(
        f"""#!{sys.executable}
import subprocess, sys
arguments = sys.argv[1:]
place = arguments.index("-c") + 1
arguments[place] = {launch!r} + arguments[place]
sys.exit(subprocess.run([{str(environment / "bin" / "python")!r}, *arguments], close_fds=False).returncode)
"""
    )
    python.chmod(0o755)
    report = verify_runtime(tmp_path, parse_name("pytorch-cpu-avx2"), ORIGIN)
    assert [row.check for row in report.findings if row.status == "wrong"] == ["softmax"]


def test_exit_codes_and_forms(environment: Path, tmp_path: Path) -> None:
    right = command("verify", environment, "--variant", FLAGSHIP, "--origin", ORIGIN, "--json")
    assert right.returncode == 0
    assert json.loads(right.stdout)["passed"] is True
    SCHEMA.validate(json.loads(right.stdout))
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
