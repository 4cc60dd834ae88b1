"""The plan command against what Nix itself says, over the embedded package set and $NIXPKGS."""

import dataclasses
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from commands import call
from conftest import FLAGSHIP, PYTHON_NAME, ROOT, Nix

from pytorch_variants.cost.jobs import (
    available_memory,
    compiler_jobs,
)
from pytorch_variants.cost.variant import plan as ask
from pytorch_variants.nix import closure, read_dry_run, rebuilt

SYSTEM = "x86_64-linux"


def plan(*arguments: str) -> tuple[int, dict[str, Any]]:
    code, out, err = call("plan", *arguments, "--flake", ROOT, "--json")
    assert err == ""
    return code, json.loads(out)


def test_it_says_what_nix_says(nix: Nix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_CONFIG", nix.environment()["NIX_CONFIG"])
    code, found = plan(FLAGSHIP, "--nixpkgs", nix.nixpkgs)
    messages = nix.run("build", "--dry-run", f".#{FLAGSHIP}").stderr
    to_build = {line.strip() for line in messages.splitlines() if line.endswith(".drv")}
    assert sorted(found["build"] + found["download"]) == sorted(
        path.split("-", 1)[1].removesuffix(".drv") for path in to_build
    )
    assert sum(found["origins"].values()) == len(found["download"])
    assert found["caches"] == []
    variant = nix.eval(
        f".#{FLAGSHIP}", "p: { inherit (p) pname memoryPerJob; compiled = !(p ? wheelTargets); }"
    )
    assert (found["variant"], found["memory_per_job"]) == (variant["pname"], variant["memoryPerJob"])
    assert found["compiled"] is variant["compiled"]
    if variant["compiled"]:
        # Only PyTorch differs from what the package set itself makes; the rest differs by its configuration.
        assert code == bool(found["off_cache"])
        assert found["hours"] > 0.5
        assert "core-hours" in found["basis"]
    else:
        assert code == 0
        assert found["off_cache"] == []
        assert found["hours"] < 0.1


def test_another_cuda_leaves_the_cache(nix: Nix) -> None:
    if nix.eval(f".#{FLAGSHIP}", "p: p ? wheelTargets"):
        code, _, err = call("plan", "pytorch-cuda12_6-sm90-avx2", "--flake", ROOT, "--nixpkgs", nix.nixpkgs)
        assert code == 2
        assert "no CUDA 12.6: write one of 12.8, 13.0" in err
        return
    code, found = plan("pytorch-cuda12_8-sm90-avx2", "--nixpkgs", nix.nixpkgs)
    assert code == 1
    assert any(name.startswith("cuda12.8-libcublas") for name in found["off_cache"])
    assert "not those of nixpkgs' own builds" in found["warnings"][0]
    code, found = plan("pytorch-cpu-avx2", "--nixpkgs", nix.nixpkgs)
    assert (code, found["off_cache"], found["hours"]) == (0, [], None)


def test_binary_caches_are_counted(embedded: Nix, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty store, and a cache with two of the packages: these are fetched, all else is built."""
    expression = 'p: map (name: p.pythonModule.pkgs.${name}.outPath) [ "mdurl" "filelock" ]'
    for name in ("mdurl", "filelock"):
        embedded.build(f".#legacyPackages.{SYSTEM}.pkgs.python3Packages.{name}")
    paths = embedded.eval(f".#{FLAGSHIP}", expression)
    cache = f"file://{tmp_path / 'cache'}"
    subprocess.run(
        ["nix", "copy", "--to", cache, *paths], check=True, capture_output=True, env=embedded.environment()
    )
    settings = (
        f"store = {tmp_path / 'store'}\nsubstituters = {cache}\nsubstitute = true\nrequire-sigs = false"
    )
    monkeypatch.setenv("NIX_CONFIG", settings)
    _, found = plan(FLAGSHIP, "--nixpkgs", "embedded")
    # What PyTorch needs of the two is filelock; the command line, which retargets, needs mdurl.
    assert found["fetch"] == 2
    assert 0 < found["fetch_size"] < found["unpacked_size"]
    cuda = embedded.lib("map (cache: cache.url) (builtins.attrValues lib.caches)")
    assert found["caches"] == [cache, *cuda]
    assert found["caches_to_add"] == cuda
    built = " ".join(found["build"])
    assert "mdurl" not in built
    assert "filelock" not in built
    assert "pytorch-bin-" in built
    # All wheels but those of the two.
    pins = json.loads((ROOT / "pkgs" / "embedded" / "wheels.json").read_text())
    wheels = pins["releases"][0]["pythons"][PYTHON_NAME]
    needed = [pin for pin in wheels.values() if pin["file"] in found["download"]]
    assert found["download_size"] == sum(pin["size"] for pin in needed if pin["file"].endswith(".whl")) > 3e9
    assert found["origins"] == {"pip's package registry": len(found["download"])}
    assert found["disk_needed"] > 2 * found["download_size"]
    assert 0.04 < found["hours"] < 0.06


@pytest.mark.parametrize("columns", ["40", "100"])
def test_the_table(embedded: Nix, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    """It says in words what --json says."""
    monkeypatch.setenv("NIX_CONFIG", embedded.environment()["NIX_CONFIG"])
    monkeypatch.setenv("COLUMNS", columns)
    _, out, _ = call("plan", FLAGSHIP, "--flake", ROOT, "--nixpkgs", "embedded")
    assert max(map(len, out.splitlines())) <= int(columns)
    words = "".join(re.sub("[│┃]", " ", out).split())
    _, found = plan(FLAGSHIP, "--nixpkgs", "embedded")
    assert f"{len(found['build'])}:python3" in words or "nothingdownloaded" in words
    assert "noneasked(substitute=false)" in words
    assert "nothingiscompiled" in words


def test_warnings(embedded: Nix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_CONFIG", embedded.environment()["NIX_CONFIG"])
    found = ask(FLAGSHIP, "embedded", ROOT)
    assert found.warnings == ()
    small = dataclasses.replace(found, disk_needed=found.disk_free + 1)
    assert "nix store gc" in small.warnings[0]
    off = dataclasses.replace(small, off_cache=("openmpi-5.0.10",))
    assert len(off.warnings) == 2
    assert off.warnings[0].startswith("1 derivation")
    old = dataclasses.replace(found, cpu_lacks=("avx512f",))
    assert "this machine's CPU lacks avx512f" in old.warnings[0]


def test_what_is_there_costs_nothing(embedded: Nix, environment: Path) -> None:
    """The fixture has built it."""
    code, found = plan(FLAGSHIP, "--nixpkgs", "embedded")
    assert code == 0
    assert (found["build"], found["download"], found["hours"], found["disk_needed"]) == ([], [], 0, 0)


@pytest.mark.parametrize("limit", ["max", str(2**63 - 4096), str(20 * 2**30)])
@pytest.mark.parametrize("available", [1, 3, 4, 7, 8, 24, 128, 1000])
@pytest.mark.parametrize("cores", [1, 16, 128])
def test_the_jobs_are_those_of_the_build(
    embedded: Nix, tmp_path: Path, available: int, cores: int, limit: str
) -> None:
    """The build's own script, with another machine's memory."""
    script = _pre_build(embedded)
    for path in ("/proc/meminfo", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        assert path in script
        script = script.replace(path, str(tmp_path / Path(path).name))
    text = f"MemTotal: 99999 kB\nMemAvailable:   {available * 2**20 + 5} kB\n"
    (tmp_path / "meminfo").write_text(text)
    (tmp_path / "memory.max").write_text(limit + "\n")
    result = subprocess.run(
        ["sh", "-euc", script + "\necho jobs=$MAX_JOBS"],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "NIX_BUILD_CORES": str(cores), "MAX_JOBS": str(cores)},
    )
    jobs = compiler_jobs(cores, available_memory(text, limit + "\n", ""), 6)
    assert result.stdout.splitlines()[-1] == f"jobs={jobs}"


_SCRIPTS: list[str] = []


def _pre_build(embedded: Nix) -> str:
    if not _SCRIPTS:
        _SCRIPTS.append(embedded.eval(f".#{FLAGSHIP}.preBuild"))
    return _SCRIPTS[0]


@pytest.mark.parametrize(
    ("cores", "memory", "jobs"),
    [(12, 64.0, 12), (12, 47.9, 11), (12, 8.0, 2), (12, 3.9, 1), (12, 0.0, 1), (1, 64.0, 1)],
)
def test_a_compiler_for_each_4_gib(cores: int, memory: float, jobs: int) -> None:
    assert compiler_jobs(cores, memory, 4) == jobs


def test_the_least_limit_of_memory_counts() -> None:
    meminfo = f"MemTotal: {64 << 20} kB\nMemAvailable:   {32 << 20} kB\n"
    assert available_memory(meminfo) == 32
    assert available_memory(meminfo, f"{8 << 30}\n", "max\n", "") == 8
    assert available_memory(meminfo, f"{48 << 30}\n") == 32
    assert available_memory("", "max\n", f"{3 << 29}\n") == 1.5


def test_memory_that_is_not_known() -> None:
    assert available_memory("MemTotal: 5 kB\n") is None
    assert compiler_jobs(12, None, 4) == 12


def test_reading_a_dry_run() -> None:
    assert read_dry_run("") == ([], 0, 0, 0)
    text = """warning: not writing modified lock file of flake 'x':
• Updated input 'nixpkgs':
  → 'path:/nix/store/aaa-source?lastModified=0'
this derivation will be built:
  /nix/store/bbb-x.drv
these 2 paths will be fetched (1.50 MiB download, 2.00 GiB unpacked):
  /nix/store/ccc-y
  /nix/store/ddd-z
"""
    assert read_dry_run(text) == (["/nix/store/bbb-x.drv"], 2, 3 * 2**19, 2**31)


@pytest.mark.usefixtures("nix")
def test_what_is_rebuilt(tmp_path: Path) -> None:
    """Real derivations: of three in a row the middle one changes, and so the last."""
    row = 'let d = name: args: derivation { inherit name args; system = "x"; builder = "x"; }; in '
    row += 'd "c" [ (d "b" [ (d "a" [ ]) "%s" ]) ]'
    found = [
        subprocess.run(
            ["nix-instantiate", "--expr", row % text], check=True, capture_output=True, text=True
        ).stdout.strip()
        for text in ("one", "two")
    ]
    assert sorted(path.split("-", 1)[1] for path in closure(found[0])) == ["a.drv", "b.drv", "c.drv"]
    assert sorted(path.split("-", 1)[1] for path in rebuilt(*found)) == ["b.drv", "c.drv"]
    assert rebuilt(found[0], found[0]) == set()
