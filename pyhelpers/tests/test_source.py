"""The package set that compiles: its pins, what variants share, the first minutes of a real build."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import FLAGSHIP, ROOT, Nix

from pytorch_variants.findings import Finding, Origin
from pytorch_variants.names.variant import parse_name
from pytorch_variants.verify.cpu import check_cpu
from pytorch_variants.verify.facts import Candidate
from pytorch_variants.verify.gpu import check_gpu
from pytorch_variants.verify.static import read_library

SOURCE = ROOT / "pkgs" / "source"


def source_set() -> Nix:
    return Nix(f"{ROOT / 'pkgs'}?dir=source")


@pytest.fixture(scope="session")
def nix_source(nix: Nix) -> Nix:
    """Nix over the set that compiles; `nix` is asked for so that this counts among what wants Nix."""
    return source_set()


def all_pins() -> Iterator[tuple[str, dict[str, Any]]]:
    for part in json.loads((SOURCE / "pins.json").read_text()).values():
        if isinstance(part, dict):
            yield from part.items()


def test_every_pin_has_a_hash_a_size_and_its_version() -> None:
    for name, pin in all_pins():
        assert len(bytes.fromhex(pin["sha256"])) == 32, name
        assert pin["size"] > 1000, name
        file = pin.get("file") or pin["pool"]
        # Debian's names of snapshots have the day in them.
        assert pin["version"] in file, name


def test_no_host_is_named() -> None:
    for file in SOURCE.iterdir():
        # A workaround links its thread.
        text = re.sub(r"https://github\.com/[\w./-]+/(issues|pull)/\d+", "", file.read_text())
        assert "://" not in text, file


def inputs(nix: Nix, installable: str) -> set[str]:
    [derivation] = json.loads(nix.ok("derivation show", installable)).values()
    return set(derivation["inputDrvs"])


def test_variants_compile_nothing_but_pytorch_for_themselves(nix_source: Nix) -> None:
    """What another instruction set, another GPU and no GPU have to build beside it is the same."""
    one = inputs(nix_source, f".#{FLAGSHIP}")
    assert one == inputs(nix_source, ".#pytorch-sm80-avx2")
    without_gpu = inputs(nix_source, ".#pytorch-cpu-avx2")
    assert without_gpu < one
    names = {path.split("-", 1)[1] for path in one - without_gpu}
    assert names and all(name.startswith(("nvidia-", "cudatoolkit-", "cuda-libraries-")) for name in names)


def test_what_it_cannot_build_is_refused_with_what_it_can(nix_source: Nix) -> None:
    assert "CUDA 13.0" in nix_source.error(".#pytorch-sm70-avx2", "p: p.drvPath")
    assert "take a nixpkgs" in nix_source.error(f".#torchvision-{FLAGSHIP[8:]}", "p: p.drvPath")
    assert "this package set compiles" in nix_source.error(".#pytorch-bin-sm90", "p: p.drvPath")


def test_a_variant_says_what_it_lacks(nix_source: Nix) -> None:
    assert {"DISTRIBUTED", "FLASH_ATTENTION"} <= set(nix_source.eval(f".#{FLAGSHIP}.notBuilt"))


def test_a_file_that_cannot_be_had_is_one_line(nix_source: Nix) -> None:
    expression = f"""
      (import {SOURCE} {{ }}).callPackage {SOURCE}/fetchDebian.nix {{ }} {{
        pname = "none";
        version = "1";
        pool = "main/f/fxdiv/no-such-file_1_all.deb";
        sha256 = "{"0" * 64}";
        size = 1;
      }}"""
    built = subprocess.run(
        ["nix", "build", "--impure", "--no-link", "--expr", expression],
        capture_output=True,
        text=True,
        check=False,
        env=nix_source.environment(),
    )
    assert built.returncode != 0
    assert "no-such-file_1_all.deb could not be fetched" in built.stderr


def test_without_a_debian_mirror_none_is_named(tmp_path: Path) -> None:
    """A machine whose apt has other archives alone, as an empty configuration is."""
    (tmp_path / "sources.list").touch()
    configuration = tmp_path / "apt.conf"
    configuration.write_text(
        f'Dir::Etc::sourcelist "{tmp_path}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n'
    )
    script = SOURCE / "debian_mirrors.sh"
    there = subprocess.run(["sh", script], capture_output=True, text=True, check=True)
    assert there.stdout.strip()
    none = subprocess.run(
        ["sh", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "APT_CONFIG": str(configuration)},
    )
    assert not none.stdout


def sample(nix: Nix, name: str) -> tuple[Path, list[Finding]]:
    """Build a variant's sample, and hold its libraries against the name as a compiled build's."""
    built = nix.build(f".#{name}.sample")
    variant = parse_name(name)
    libraries = [
        read_library(Candidate(path, f"torch/lib/{path.name}", "torch", "torch"))
        for path in sorted(built.glob("lib/python/site-packages/torch/lib/*.so"))
    ]
    assert libraries and not any(library.error for library in libraries)
    rows = [*check_gpu(libraries, variant, Origin.SOURCE), *check_cpu(libraries, variant, Origin.SOURCE)]
    return built, rows


def wrong_rows(rows: list[Finding]) -> list[Finding]:
    return [row for row in rows if row.status == "wrong"]


@pytest.mark.compile
def test_the_first_minutes_of_a_build_are_what_the_name_says(nix_source: Nix) -> None:
    """Configured whole; c10, c10_cuda, caffe2_nvrtc and some CUDA files compiled and linked."""
    built, rows = sample(nix_source, FLAGSHIP)
    names = {path.name for path in built.glob("lib/python/site-packages/torch/lib/*.so")}
    assert names == {"libc10.so", "libc10_cuda.so", "libcaffe2_nvrtc.so", "libtorch_cuda.so"}
    assert not wrong_rows(rows)
    found = {row.check: row for row in rows if row.status == "ok"}
    assert {"compiler options", "instruction set in use", "CUDA build"} <= set(found)
    cache = (built / "CMakeCache.txt").read_text()
    for line in ("TORCH_CUDA_ARCH_LIST", "USE_CUDNN:BOOL=ON", "USE_DISTRIBUTED:BOOL=0"):
        assert line.split(":")[0] in cache
    # The same files under another name are not what that says.
    libraries = [
        read_library(Candidate(path, f"torch/lib/{path.name}", "torch", "torch"))
        for path in built.glob("lib/python/site-packages/torch/lib/*.so")
    ]
    assert wrong_rows(list(check_gpu(libraries, parse_name("pytorch-sm80-avx512"), Origin.SOURCE)))
    assert wrong_rows(list(check_cpu(libraries, parse_name("pytorch-sm90-avx2"), Origin.SOURCE)))


@pytest.mark.compile
def test_all_is_linked_and_installed_and_found(nix_source: Nix) -> None:
    """With empty objects: what the last minutes of a build are made of."""
    built = nix_source.build(f".#{FLAGSHIP}.skeleton")
    [packages] = built.glob("lib/python3*/site-packages")
    for part in (
        "torch/__init__.py",
        "torch/version.py",
        "torch/include/ATen/ATen.h",
        "functorch",
        "torchgen",
    ):
        assert (packages / part).exists()
    linked = [
        *packages.glob("torch/lib/*.so"),
        *packages.glob("*/_C.*.so"),
        packages / "torch/bin/torch_shm_manager",
    ]
    assert {"libtorch_cpu.so", "libtorch_cuda.so", "libtorch_cuda_linalg.so", "libtorch_python.so"} <= {
        path.name for path in linked
    }
    missing = set[str]()
    for path in linked:
        said = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=True).stdout
        missing |= {line.split()[0] for line in said.splitlines() if "not found" in line}
    # The driver is the running machine's.
    assert missing <= {"libcuda.so.1"}


@pytest.mark.compile
def test_a_build_that_was_killed_goes_on_from_the_compiler_cache(nix_source: Nix, tmp_path: Path) -> None:
    cache, log = tmp_path / "cache", tmp_path / "results"
    cache.mkdir()
    (cache / "ccache.conf").write_text(f"stats_log = {log}\n")
    expression = f"""
      let
        overlays = [ (import {ROOT}/pkgs/overlay.nix) ];
        pkgs = import {SOURCE} {{ system = "x86_64-linux"; inherit overlays; }};
        inherit (import {ROOT}/lib {{ inherit (pkgs) lib; }}) mkPytorchVariant;
      in
      (mkPytorchVariant {{ inherit pkgs; cpu = "avx2"; compilerCache = "{cache}"; }}).sample
    """
    command = ["nix", "build", "--impure", "--no-link", "--print-out-paths", "--expr", expression]

    def results() -> list[str]:
        lines = log.read_text().splitlines() if log.exists() else []
        return [line for line in lines if line.endswith(("cache_miss", "cache_hit"))]

    with subprocess.Popen(
        command, env=nix_source.environment(), stderr=subprocess.DEVNULL, start_new_session=True
    ) as building:
        while building.poll() is None and len(results()) < 10:
            time.sleep(0.1)
        assert building.returncode is None
        os.killpg(building.pid, signal.SIGKILL)
    # Those that ran may still write what they had.
    kept = len(results())
    subprocess.run(command, env=nix_source.environment(), check=True)
    again = results()[kept:]
    assert sum(line.endswith("cache_hit") for line in again) >= 10
