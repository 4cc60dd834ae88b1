"""./run: bad input is one line with the way out in it; it works in any place, and with a Nix of its own."""

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import FLAGSHIP, ROOT

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
    ("build", "RTX 4090"): "pytorch-sm",
    ("build", "torchvision-sm86-avx2"): "write pytorch-sm86-avx2, or ./run nix build .#torchvision-sm86-avx2",
    ("build", "torchaudio-sm91"): "write pytorch-sm91",
    ("nix",): "write its arguments after it",
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


def run(
    run: Path, *arguments: str, cwd: Path = ROOT, first: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Call ./run, with the programs of the directory `first` before all others."""
    path = os.environ["PATH"] if first is None else f"{first}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [run, *arguments],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose path has to be quoted, and to be encoded in a flake reference."""
    clone = tmp_path / "a clone of 100 %" / "pytorch"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    shutil.copy2(ROOT / "run", clone)
    return clone


def test_python_that_is_not_there(tmp_path: Path) -> None:
    program(tmp_path / "bin" / "python3.13", "exit 127")
    name = "pytorch-python313-cuda12_8-sm86-avx2"
    result = run(ROOT / "run", "build", name, "--nixpkgs", "embedded", first=tmp_path / "bin")
    assert result.returncode == 2
    assert "and not 3.13: write pytorch-python311-cuda12_8-sm86-avx2" in result.stderr.splitlines()[-1]
    assert len(result.stderr.splitlines()) == 2


def test_clone_behind_a_link_called_from_elsewhere(clone: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(clone)
    result = run(link / "run", "build", FLAGSHIP, "--nixpkgs", "embedded", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "warning: " not in result.stderr
    [hint] = re.findall(r"^run: try it: (.+)$", result.stderr, re.MULTILINE)
    version = subprocess.check_output(["bash", "-c", hint], cwd=tmp_path, text=True)
    assert version.startswith("2.")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("eval", "--raw", f".#{FLAGSHIP}.pname"), "pytorch-"),
        (("eval", "--raw", ".#lib", "--apply", 'lib: (lib.parseGpu "H100").name'), "sm90"),
        (("derivation", "show", ".#cli"), "{"),
        (("flake", "metadata", "--json"), "{"),
        (("hash", "file", "run"), "sha256-"),
    ],
    ids=" ".join,
)
def test_nix(arguments: tuple[str, ...], answer: str) -> None:
    result = run(ROOT / "run", "nix", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(answer)
    assert [line for line in result.stderr.splitlines() if not line.startswith("run: package set: ")] == []


def test_cli_asks_of_the_package_set_that_was_chosen() -> None:
    result = run(ROOT / "run", "cli", "detect", "--gpu", "RTX 4090")
    assert result.returncode == 0, result.stderr
    embedded = "package set: pkgs/embedded" in result.stderr
    command = result.stdout.splitlines()[-1]
    assert command.startswith("./run build pytorch-bin-sm89" if embedded else "nix build .#pytorch-sm89-")


def test_nix_passes_on_what_nix_says() -> None:
    result = run(ROOT / "run", "nix", "eval", ".#nothing")
    assert result.returncode == 1
    assert "does not provide attribute" in result.stderr


@pytest.mark.skipif(
    platform.freedesktop_os_release().get("VERSION_CODENAME") != "bookworm",
    reason="other releases have a Nix that is new enough, or none at all",
)
def test_nix_of_its_own(clone: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin" / "nix", "echo nix '(Nix)' 2.8.0")
    installed = subprocess.check_output(["dpkg-query", "--show"])

    def nix(*arguments: str) -> subprocess.CompletedProcess[str]:
        result = run(clone / "run", "nix", *arguments, cwd=clone, first=tmp_path / "bin")
        assert result.returncode == 0, result.stderr
        return result

    assert "unpacking Debian 13's Nix" in nix("eval", "--raw", ".#lib", "--apply", "lib: toString 1").stderr
    assert sorted(path.name for path in clone.glob(".nix*")) == [".nix"]
    assert not subprocess.check_output(["git", "status", "--short", "--", ".nix"], cwd=clone)
    assert subprocess.check_output(["dpkg-query", "--show"]) == installed

    # It is there for the next call, and calls itself, git and what it builds with.
    stated = nix("eval", "--raw", f".#{FLAGSHIP}.pname")
    assert "unpacking" not in stated.stderr
    assert stated.stdout.startswith("pytorch-")
    settings = nix("config", "show", "build-hook").stdout
    assert settings.strip() == f"{clone}/.nix/bin/nix __build-remote"
    derivation = """derivation {
      name = "probe";
      system = builtins.currentSystem;
      builder = "/bin/sh";
      args = [ "-c" "echo libraries: $LD_LIBRARY_PATH > $out" ];
    }"""
    built = nix("build", "--impure", "--no-link", "--print-out-paths", "--expr", derivation).stdout.strip()
    assert Path(built).read_text() == "libraries:\n"
    store = f"file://{tmp_path}/store?compression=none"
    nix("copy", "--to", store, built)
    assert nix("path-info", "--store", store, built).stdout.strip() == built
    for name in ("nix-store", "nix-instantiate", "nix-prefetch-url"):
        version = subprocess.check_output([clone / ".nix" / "bin" / name, "--version"], text=True)
        assert version.startswith(f"{name} (Nix) ")
