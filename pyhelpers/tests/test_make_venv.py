"""A venv beside the embedded PyTorch, in which pip keeps it: real packages, by the real pip."""

import subprocess
from pathlib import Path

import pytest

PROGRAM = """
import importlib.metadata as m, json, torch, torchvision, transformers
kept = torchvision.ops.nms(torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]]), torch.tensor([1.0, 0.5]), 0.5)
print(torch.__file__, m.version("torch"), m.version("torchvision"), kept.tolist(), sep="|")
"""


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", **environment} if environment else None,
    )


@pytest.fixture(scope="module")
def constraints(environment: Path) -> dict[str, str]:
    lines = (environment / "constraints.txt").read_text().splitlines()
    found = dict(line.split("==") for line in lines)
    assert list(found) == ["torch", "triton", "torchvision", "torchaudio"]
    return found


def test_pip_keeps_the_torch(environment: Path, constraints: dict[str, str], tmp_path: Path) -> None:
    venv = tmp_path / "a venv"
    made = run(environment / "bin" / "make-venv", venv)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    pip = venv / "bin" / "pip"
    installed = run(pip, "install", "--quiet", "transformers", "torchvision", "torchaudio")
    assert installed.returncode == 0, installed.stderr
    assert run(pip, "check").stdout == "No broken requirements found.\n"
    assert not list(venv.glob("lib/python3*/site-packages/torch"))
    assert not list(venv.glob("lib/python3*/site-packages/nvidia*"))
    ran = run(venv / "bin" / "python", "-c", PROGRAM)
    assert ran.returncode == 0, ran.stderr
    file, torch, torchvision, kept = ran.stdout.strip().split("|")
    assert file.startswith(f"{environment}/")
    assert (torch, torchvision, kept) == (constraints["torch"], constraints["torchvision"], "[0]")
    refused = run(pip, "install", "--dry-run", "--quiet", "torch!=" + constraints["torch"])
    assert refused.returncode == 1
    assert "ResolutionImpossible" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "way_out"),
    [
        ((), "write the directory of the new virtual environment"),
        (("--help",), "write the directory of the new virtual environment"),
        ((".",), "is there: write another directory"),
    ],
)
def test_wrong_calls(arguments: tuple[str, ...], way_out: str, environment: Path) -> None:
    result = run(environment / "bin" / "make-venv", *arguments)
    assert result.returncode == 1
    [line] = result.stderr.splitlines()
    assert line.startswith("make-venv: ")
    assert way_out in line


def test_without_pythons_venv(environment: Path, tmp_path: Path) -> None:
    """As Debian's python3 is without python3-venv."""
    (tmp_path / "ensurepip.py").write_text("raise ImportError")
    made = run(environment / "bin" / "make-venv", tmp_path / "venv", PYTHONPATH=str(tmp_path))
    assert made.returncode == 1
    [line] = made.stderr.splitlines()
    assert line.startswith("make-venv: python3.")
    assert "-venv, then run this again" in line
    assert not (tmp_path / "venv").exists()
