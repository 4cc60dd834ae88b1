"""What a consumer's package set makes of a variant: over another one, patched, with wrong arguments."""

import pytest
from conftest import Nix

from pytorch_variants.nix import closure

PACKAGES = ".#legacyPackages.x86_64-linux"
H100 = 'p.lib.mkOverlay { gpu = "H100"; cpu = "avx512"; }'
A100 = 'p.lib.mkOverlay { gpu = "A100"; cpu = "avx2"; }'


def test_a_variant_of_a_package_set_with_another_has_its_own_flags_alone(nix: Nix) -> None:
    found = nix.eval(
        PACKAGES,
        f"""p: let
          h100 = p.cudaPkgs.extend ({H100});
          twice = h100.extend ({H100});
          other = h100.extend ({A100});
        in {{
          call = (p.mkPytorchVariant {{ pkgs = h100; gpu = "A100"; cpu = "avx2"; }}).drvPath;
          inherit (p.pytorch-sm80-avx2) drvPath;
          overlay = other.python3Packages.torch.drvPath;
          twice = twice.python3Packages.torch.drvPath;
          once = h100.python3Packages.torch.drvPath;
          flags = other.python3Packages.torch.preConfigure;
        }}""",
    )
    assert found["call"] == found["overlay"] == found["drvPath"]
    assert found["twice"] == found["once"]
    assert "-mavx512f" not in found["flags"]


def test_what_is_verified_is_what_was_patched(nix: Nix) -> None:
    found = nix.eval(
        PACKAGES,
        """p: let
          variant = p.pytorch-sm90-avx512;
          patched = variant.overrideAttrs { PATCHED = "yes"; };
        in {
          variant = variant.drvPath;
          patched = patched.drvPath;
          inherit (patched.tests.verify) drvPath;
          environment = patched.environment.drvPath;
          torchvision = patched.torchvision.drvPath;
        }""",
    )
    assert found["patched"] != found["variant"]
    for name in ("drvPath", "environment", "torchvision"):
        needed = closure(found[name])
        assert found["patched"] in needed, name
        assert found["variant"] not in needed, name


def test_gpus_of_one_target_are_one(nix: Nix) -> None:
    found = nix.eval(
        PACKAGES,
        """p: map (gpuTargets: (p.mkPytorchVariant { inherit gpuTargets; cpu = "avx2"; }).drvPath)
          [ [ "H100" "H200" ] [ "sm90" ] [ "H100" "A100" ] [ "sm80" "9.0" ] ]""",
    )
    assert found[0] == found[1]
    assert found[2] == found[3] != found[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ('p.mkPytorchVariant { gpu = "h100"; }', 'write one, as in cpu = "avx2"'),
        ('p.mkPytorchVariant { gpu = "h100"; gpuTargets = [ "a100" ]; cpu = "avx2"; }', "write one of them"),
        ('p.pkgs.extend (p.lib.mkOverlay { cpu = "avx2"; python = "3.12"; })', "takes no python: every"),
        ('p.pkgs.extend (p.lib.mkOverlay { cpu = "avx2"; pkgs = p; })', "takes no pkgs: "),
        (
            'p.pkgs.extend (p.lib.mkOverlay { gpu = "h100"; cpu = "avx2"; specialiseClosure = true; })',
            "config.cudaCapabilities",
        ),
        (
            '(p.pkgs.extend (p.lib.mkOverlay { gpu = "h100"; cpu = "avx2"; cuda = "12.7"; })).cudaPackages',
            "no CUDA 12.7: take one of",
        ),
        ('p.lib.ofName "pytorch-bin-sm90"', "write a variant that is compiled, as pytorch-sm90-avx512"),
        ('p.lib.ofName "pytorch-sm90-avx51"', "nearest: pytorch-sm90-avx512"),
        ('(p.lib.ofName "pytorch-python377-sm90-avx2").python p.pkgs', "has no Python 3.77"),
        ("p.lib.mkChecks { variants.a = p.pkgs.python3; }", "a is no variant"),
        (
            """(p.lib.nixpkgsConfig { } { pkgs = { }; }).allowUnfreePredicate { pname = "x"; }""",
            "take one of 2025 or later",
        ),
    ],
)
def test_wrong_calls(nix: Nix, call: str, message: str) -> None:
    error = nix.error(PACKAGES, f"p: builtins.toString (builtins.attrValues ({call}))")
    assert message in error
    assert len(error.splitlines()) == 1


def test_one_may_allow_more_that_is_unfree(nix: Nix) -> None:
    found = nix.eval(
        PACKAGES,
        """p: let
          pkgs._cuda.lib.allowUnfreeCudaPredicate = package: package.pname == "cuda_nvcc";
          allowUnfreePredicate = package: package.pname == "vscode";
          config = p.lib.nixpkgsConfig { inherit allowUnfreePredicate; } { inherit pkgs; };
        in map (pname: config.allowUnfreePredicate { inherit pname; }) [ "vscode" "cuda_nvcc" "unrar" ]""",
    )
    assert found == [True, True, False]


def test_capabilities_of_the_whole_package_set_are_warned_of(nix: Nix) -> None:
    """They take all of CUDA off the binary cache, as specialiseClosure does on purpose."""
    call = """p: (p.mkPytorchVariant {
      pkgs = p.cudaPkgs // { config = p.cudaPkgs.config or { } // { cudaCapabilities = [ "9.0" ]; }; };
      gpu = "H100";
      cpu = "avx2";
    }).pname"""
    call = call if "embedded" not in nix.nixpkgs else call.replace("p.cudaPkgs.config or { } //", "{ } //")
    warned = nix.run("eval", PACKAGES, "--apply", call).stderr
    assert "leave config.cudaCapabilities out" in warned
