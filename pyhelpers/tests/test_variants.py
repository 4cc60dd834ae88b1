"""The flake over the embedded package set, and over a real nixpkgs where $NIXPKGS names one."""

from typing import Any

import pytest
from conftest import FLAGSHIP, Nix

from pytorch_variants.hardware.table import (
    cpus,
    gpus,
)

SYSTEM = "x86_64-linux"
MAKE = f".#legacyPackages.{SYSTEM}.mkPytorchVariant"


def test_packages_have_one_torch_per_pair(nix: Nix) -> None:
    names = nix.eval(f".#packages.{SYSTEM}", "builtins.attrNames")
    assert FLAGSHIP in names
    pairs = {f"pytorch-{gpu}-{cpu}" for gpu in [*gpus(), "cpu"] for cpu in cpus()}
    torches = {name for name in names if not name.startswith(("torchvision-", "torchaudio-"))}
    bins = {f"pytorch-bin-{gpu}" for gpu in gpus()}
    assert torches - pairs - bins == {"cli", "default"}


def test_the_flagship_says_what_it_is(nix: Nix) -> None:
    attributes = "gpu cpu cuda python gpuTargets cpuFlags pname"
    found: dict[str, Any] = nix.eval(
        f".#{FLAGSHIP}", f"p: {{ inherit (p) {attributes}; inherit (p.meta) description platforms; }}"
    )
    assert found["gpu"] == "sm90"
    assert found["cpu"] == "avx512"
    assert found["gpuTargets"] == ["9.0"]
    assert found["cpuFlags"] == list(cpus()["avx512"].flags)
    python, cuda = found["python"].replace(".", ""), found["cuda"].replace(".", "_")
    assert found["pname"] == f"pytorch-python{python}-cuda{cuda}-sm90-avx512"
    assert "H100" in found["description"]
    assert "AVX-512" in found["description"]
    assert found["platforms"] == ["x86_64-linux"]


def test_the_build_is_told_the_flags_and_prints_its_configuration(nix: Nix) -> None:
    configure = nix.eval(f".#{FLAGSHIP}.preConfigure")
    flags = " ".join(("-frecord-gcc-switches", *cpus()["avx512"].flags))
    for variable in ("CFLAGS", "CXXFLAGS"):
        assert f'export {variable}="${{{variable}:-}} {flags}"' in configure
    assert "GPU target    9.0" in configure
    assert "CPU features  AVX-512" in configure


def test_the_build_gets_the_dotted_target_alone(nix: Nix) -> None:
    """nixpkgs hands it to PyTorch's build scripts, the embedded set to the retargeting."""
    scripts = nix.eval(
        MAKE,
        """make: let p = make { gpuTargets = [ "sm_80" "H100" ]; cpu = "avx2"; };
        in p.preConfigure + (p.postInstall or "")""",
    )
    assert 'TORCH_CUDA_ARCH_LIST="8.0;9.0"' in scripts or "--gpu 8.0 --gpu 9.0" in scripts


def test_avx_keeps_later_instructions_out(nix: Nix) -> None:
    configure = nix.eval(".#pytorch-sm90-avx.preConfigure")
    assert "-mavx -mno-avx2 -mno-fma -mno-f16c -mno-bmi -mno-bmi2" in configure


@pytest.mark.parametrize(
    ("targets", "dotted"),
    [
        (["sm80", "sm86", "9.0"], ["8.0", "8.6", "9.0"]),
        (["H100", "compute_120"], ["9.0", "12.0"]),
        (["NVIDIA A100-SXM4-80GB"], ["8.0"]),
    ],
)
def test_gpu_targets_in_any_spelling(nix: Nix, targets: list[str], dotted: list[str]) -> None:
    texts = " ".join(f'"{target}"' for target in targets)
    call = f'make: (make {{ gpuTargets = [ {texts} ]; cpu = "AVX2"; }}).gpuTargets'
    assert nix.eval(MAKE, call) == dotted


def test_spelled_out_names(nix: Nix) -> None:
    defaults = nix.eval(f".#{FLAGSHIP}", "p: { inherit (p) python cuda drvPath; }")
    python, cuda = defaults["python"].replace(".", ""), defaults["cuda"].replace(".", "_")
    for name in (
        f"pytorch-python{python}-cuda{cuda}-sm90-avx512",
        f"pytorch-python{python}-sm90-avx512",
        f"pytorch-cuda{cuda}-sm90-avx512",
    ):
        assert nix.eval(f".#{name}.drvPath") == defaults["drvPath"]


def test_a_gpu_of_another_platform(nix: Nix) -> None:
    error = nix.error(".#lib", 'lib: (lib.parseName "pytorch-sm87-avx2").name')
    assert "exists on aarch64-linux only" in error
    assert len(error.splitlines()) == 1


def test_a_gpu_that_the_wheel_lacks(embedded: Nix) -> None:
    error = embedded.error(".#pytorch-sm61-avx2.drvPath")
    assert "no sm61 code, it has sm70, sm75, sm80, sm86, sm90, sm100, sm120" in error
    assert len(error.splitlines()) == 1


def test_a_gpu_that_runs_an_earlier_ones_code(embedded: Nix) -> None:
    error = embedded.error(".#pytorch-sm89-avx2.drvPath")
    assert error.endswith("nearest that works here: pytorch-bin-sm89, with the sm86 code that sm89 runs")


def test_a_cuda_that_is_not_there(nix: Nix) -> None:
    error = nix.error(MAKE, 'make: (make { gpu = "sm90"; cpu = "avx2"; cuda = "11.0"; }).drvPath')
    assert error.startswith("this nixpkgs has no CUDA 11.0: take one of 1")


def test_a_python_that_has_no_torch(nix: Nix) -> None:
    for python in ("3.6", "3.77"):
        call = f'make: (make {{ gpu = "sm90"; cpu = "avx2"; python = "{python}"; }}).drvPath'
        assert nix.error(MAKE, call).startswith(
            f"this nixpkgs has no torch for Python {python}: take one of 3.1"
        )


def test_nearest_cuda(nix: Nix) -> None:
    releases = '[ "12.8" "12.9" "13.0" "13.1" ]'
    for gpu, preferred, expected in (
        ("sm110", "12.9", "13.0"),
        ("sm70", "13.1", "12.9"),
        ("sm90", "12.9", "12.9"),
        ("sm103", "12.8", "12.9"),
    ):
        call = f'lib.internal.nearestCuda lib.hardware.gpus.{gpu} "{preferred}" {releases}'
        assert nix.lib(call) == expected


def test_checks_are_those_that_one_place_lists(nix: Nix) -> None:
    names = set(nix.eval(f".#checks.{SYSTEM}", "builtins.attrNames"))
    has_linters = nix.eval(f".#legacyPackages.{SYSTEM}", "p: p.pkgs ? statix")
    assert names == {f"verify-{FLAGSHIP}", "lib", *({"lint"} if has_linters else ())}
    check = nix.eval(f".#checks.{SYSTEM}.verify-{FLAGSHIP}.drvPath")
    assert check == nix.eval(f".#{FLAGSHIP}.tests.verify.drvPath")


def test_a_consumer_lists_its_own_checks(nix: Nix) -> None:
    names = nix.lib(
        """builtins.attrNames (lib.mkChecks {
          variants = { a.tests = { verify = 1; gpu = 2; }; b.tests = { verify = 3; gpu = 4; }; };
          gpu = true;
        })"""
    )
    assert names == ["gpu-a", "gpu-b", "verify-a", "verify-b"]


def test_gpu_tests_want_a_builder_with_a_gpu(nix: Nix) -> None:
    found = nix.eval(f".#{FLAGSHIP}.tests.gpu.drvAttrs", "a: a.requiredSystemFeatures or null")
    assert found == ["cuda"]


def test_every_variant_has_a_program_that_verifies_it(nix: Nix) -> None:
    apps = nix.eval(f".#apps.{SYSTEM}", "builtins.mapAttrs (_: app: app.type)")
    assert set(apps.values()) == {"app"}
    assert {"verify", f"verify-{FLAGSHIP}"} <= set(apps)
    variants = nix.eval(f".#packages.{SYSTEM}", "builtins.attrNames")
    torches = {name for name in variants if name.startswith("pytorch-")}
    assert set(apps) == {"verify", *(f"verify-{name}" for name in torches)}
