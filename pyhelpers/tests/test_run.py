"""./run with bad input: one line, the way out in it, exit code 2."""

import subprocess

import pytest
from conftest import ROOT

BAD = {
    ("build", "pytorch-sm91-avx512"): "nearest: ",
    ("build", "pytorch-sm90-avx521"): "pytorch-sm90-avx512",
    ("build", "pytorch-sm61-avx2"): "nearest that works here: pytorch-sm70-avx2",
    ("build", "pytorch-sm87-avx2"): "exists on aarch64-linux only",
    ("build", "pytorch-cpu-avx2"): "nearest that works here: pytorch-sm",
    ("build", "pytorch-sm90-avx512;true"): "write one like pytorch-sm90-avx512",
    ("build", "pytorch-sm90-avx2", "pytorch-sm80-avx2"): "one variant at a time",
    ("build", "--gpu"): "no such option",
    ("build", "--nixpkgs"): "write locked, embedded or the path",
    ("build", "pytorch-sm90-avx2", "--nixpkgs", "/nowhere"): "no nixpkgs there",
    ("build", "pytorch-bin-sm91"): "nearest: ",
    ("build", "pytorch-bin-sm61"): "take mkPytorchVariant",
    ("check", "everything"): "takes no arguments",
    ("lint", "everything"): "takes no arguments",
    ("bild",): "write ./run build",
}


@pytest.mark.parametrize(("arguments", "way_out"), BAD.items(), ids=repr)
def test_bad_input(arguments: tuple[str, ...], way_out: str) -> None:
    if arguments[0] == "build" and "--nixpkgs" not in arguments:
        arguments = (*arguments, "--nixpkgs", "embedded")
    result = subprocess.run(["./run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("run: package set: ")]
    assert len(lines) == 1
    assert way_out in lines[0]
    assert "while evaluating" not in result.stderr
