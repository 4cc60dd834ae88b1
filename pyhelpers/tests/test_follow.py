"""`nix build` that shows how far it is, by real builds of the embedded set's builder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, Nix
from terminal import on_a_terminal

FOLLOW = (sys.executable, "-m", "pytorch_variants.follow", "--no-link")

# A download of which a part is there, until it is seen; then what is made of it.
BUILD = """
let
  set = import {root}/pkgs/embedded {{ }};
  wheel = set.mkDerivation {{
    pname = "some-wheel";
    version = "{version}";
    size = 4000000;
    buildCommand = ''
      follow_download
      echo fetching
      head -c 1000000 /dev/zero >part
      until [ -e {seen} ]; do sleep 0.1; done
      touch "$out"
    '';
  }};
in
set.mkDerivation {{
  name = "package-{version}";
  inherit wheel;
  buildCommand = ''
    phase unpacking
    echo "$name: still running, 1 MB so far"
    echo its own words
    {last}
  '';
}}
"""


@pytest.fixture
def derivation(embedded: Nix, tmp_path: Path) -> "Derivation":
    return Derivation(embedded, tmp_path)


class Derivation:
    """Of a test alone: nothing of it was built before."""

    def __init__(self, nix: Nix, directory: Path) -> None:
        self.seen = directory / "seen"
        self._nix = nix
        self.environment = nix.environment()

    def path(self, last: str) -> str:
        expression = BUILD.format(root=ROOT, version=os.urandom(8).hex(), seen=self.seen, last=last)
        drv = self._nix.ok("eval", "--raw", "--impure", "--expr", f"({expression}).drvPath")
        return f"{drv}^out"


def test_a_terminal_has_one_line(derivation: Derivation) -> None:
    def look(shown: str) -> None:
        if "1.0 of 4.0 MB" in shown:
            derivation.seen.touch()

    command = (*FOLLOW, derivation.path('touch "$out"'))
    shown = on_a_terminal(*command, environment=derivation.environment, seen=look)
    frames = shown.split("\r\x1b[K")
    assert any(frame.startswith("run: 0 of 2 steps, 1.0 of 4.0 MB") for frame in frames)
    assert any(frame.endswith("; fetching some-wheel") for frame in frames)
    # A builder's words stay, and the line is gone.
    [words] = [frame for frame in frames if frame.endswith("\n")]
    assert words.endswith("> its own words\n")
    assert frames[-1] == ""


def test_elsewhere_the_first_line_comes_at_once(derivation: Derivation) -> None:
    command = (*FOLLOW, derivation.path("exit 1"))
    with subprocess.Popen(command, env=derivation.environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert process.stderr.readline() == "run: 0 of 2 steps, 0.0 of 4.0 MB; fetching some-wheel\n"
        derivation.seen.touch()
        *_, words, error = process.stderr.read().splitlines()
    assert words.endswith("> its own words")
    assert error.startswith("run: ")
    assert process.returncode == 1
