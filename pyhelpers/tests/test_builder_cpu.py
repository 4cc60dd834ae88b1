"""A build on a CPU that lacks its instruction set ends in its first second: every generation, every set."""

import re
import subprocess
from pathlib import Path

import pytest
from conftest import FLAGSHIP, Nix
from cpus import GENERATIONS

from pytorch_variants.hardware.table import cpus
from pytorch_variants.machine.advise import lacking
from pytorch_variants.machine.detect import parse_cpuinfo


@pytest.fixture(scope="module")
def hooks(nix: Nix) -> dict[str, str]:
    """The build's own shell code, by instruction set."""
    found: dict[str, str] = nix.lib(
        """builtins.mapAttrs (_: cpu: lib.internal.builderHook { name = "pytorch-x"; inherit cpu; })
          lib.hardware.cpus"""
    )
    assert found.keys() == cpus().keys()
    return found


def run(script: str, cpuinfo: Path) -> subprocess.CompletedProcess[str]:
    assert "/proc/cpuinfo" in script
    script = script.replace("/proc/cpuinfo", str(cpuinfo))
    return subprocess.run(["sh", "-euc", f"{script}\necho on"], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", GENERATIONS)
def test_it_goes_on_where_the_cpu_has_the_set(hooks: dict[str, str], name: str, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(GENERATIONS[name].cpuinfo)
    found = parse_cpuinfo(GENERATIONS[name].cpuinfo, name)
    for cpu, script in hooks.items():
        missing = lacking(found, cpus()[cpu])
        result = run(script, cpuinfo)
        assert result.returncode == bool(missing), (cpu, result)
        assert (result.stdout == "on\n") != bool(missing)
        if missing:
            [line] = result.stderr.splitlines()
            assert line.startswith(f"pytorch-x: this builder's CPU lacks {' '.join(missing)}, and the build")


def test_where_nothing_is_known_of_the_cpu_it_goes_on(hooks: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("processor\t: 0\n")
    for script in hooks.values():
        for path in (tmp_path / "none", tmp_path / "empty"):
            assert run(script, path).stdout == "on\n"


def test_a_build_begins_with_it(nix: Nix, hooks: dict[str, str]) -> None:
    """A wheel's CPU code chooses what it runs."""
    found = nix.eval(f".#{FLAGSHIP}", "p: { inherit (p) preUnpack variantName; }")
    script = hooks["avx512"].replace("pytorch-x", found["variantName"])
    assert found["preUnpack"] == (script if nix.compiles else "")


def test_one_may_ask_for_a_builder_by_its_feature(nix: Nix) -> None:
    """As docs/builders.md has it; the name stays."""
    found = nix.eval(
        f".#{FLAGSHIP}",
        """p: let
          asking = p.overrideAttrs (old: {
            requiredSystemFeatures = old.requiredSystemFeatures or [ ] ++ [ "gccarch-x86-64-v4" ];
          });
        in { inherit (asking.drvAttrs) requiredSystemFeatures; names = [ p.pname asking.pname ]; }""",
    )
    assert "gccarch-x86-64-v4" in found["requiredSystemFeatures"]
    assert found["names"][0] == found["names"][1]


def test_the_embedded_builder_runs_it_first(embedded: Nix) -> None:
    """Of a derivation with a variant's phases, really built."""
    result = embedded.run(
        "build",
        "--impure",
        "--no-link",
        "--expr",
        """(import ./pkgs/embedded { }).runCommand "x" {
          preUnpack = "echo first >&2; exit 1";
          preConfigure = "echo second >&2";
        } "touch $out" """,
    )
    assert result.returncode
    assert re.search(r"first", result.stderr)
    assert not re.search(r"second$", result.stderr, re.MULTILINE)
