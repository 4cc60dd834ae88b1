import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
FLAGSHIP = "pytorch-sm90-avx512"


@dataclass(frozen=True)
class Nix:
    """Nix on this flake, over the embedded package set or the nixpkgs that $NIXPKGS names."""

    nixpkgs: str

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        settings = "extra-experimental-features = nix-command flakes\nsandbox = false\nwarn-dirty = false"
        override = ("--override-input", "nixpkgs", f"path:{self.nixpkgs}", "--no-write-lock-file")
        return subprocess.run(
            ["nix", *arguments, *override],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "NIX_CONFIG": f"{os.environ.get('NIX_CONFIG', '')}\n{settings}"},
        )

    def ok(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def eval(self, installable: str, function: str = "x: x") -> Any:
        return json.loads(self.ok("eval", "--json", installable, "--apply", function))

    def lib(self, expression: str) -> Any:
        """Evaluate an expression in which the flake's lib is in scope as `lib`."""
        return self.eval(".#lib", f"lib: {expression}")

    def error(self, installable: str, function: str = "x: x") -> str:
        """The last line of an error that has to come."""
        result = self.run("eval", "--json", installable, "--apply", function)
        assert result.returncode != 0, result.stdout
        return result.stderr.rsplit("error: ", 1)[1].strip()

    def build(self, installable: str) -> Path:
        return Path(self.ok("build", "--no-link", "--print-out-paths", installable).strip())


@pytest.fixture(scope="session")
def nix() -> Nix:
    return Nix(os.environ.get("NIXPKGS") or str(ROOT / "pkgs" / "embedded"))


@pytest.fixture(scope="session")
def embedded() -> Nix:
    """The embedded package set, the one that builds in minutes."""
    return Nix(str(ROOT / "pkgs" / "embedded"))


@pytest.fixture(scope="session")
def environment(embedded: Nix) -> Path:
    """The default variant's environment, really built."""
    return embedded.build(f".#{FLAGSHIP}.environment")
