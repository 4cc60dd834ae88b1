"""The whole matrix: what there is, that it holds together, and what it makes others rebuild."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import FLAGSHIP, ROOT, Nix

from pytorch_variants.hardware.table import (
    cpus,
    gpus,
)
from pytorch_variants.names.variant import parse_name
from pytorch_variants.nix import closure
from pytorch_variants.nix import rebuilt as rebuild_set

SYSTEM = "x86_64-linux"
DRV_PATHS = "builtins.mapAttrs (_: package: package.drvPath)"


@pytest.fixture(scope="session")
def compiles(nix: Nix) -> bool:
    """Whether the package set is a nixpkgs that compiles, and not the embedded one."""
    return bool(nix.eval(f".#{FLAGSHIP}", "p: !(p ? wheelTargets)"))


@pytest.fixture(scope="session")
def packages(nix: Nix) -> dict[str, str]:
    """The derivation of every package of this system, all instantiated in one evaluation."""
    found: dict[str, str] = nix.eval(f".#packages.{SYSTEM}", DRV_PATHS)
    return found


def name(path: str) -> str:
    return path.split("-", 1)[1]


def torches(derivations: set[str]) -> set[str]:
    """Those among them that are a torch, stock or a variant."""
    return {
        path
        for path in derivations
        if re.search(r"-python3\.\d+-(torch|pytorch-(bin-)?python\S+)-[\d.]+\.drv$", path)
    }


def test_every_legal_pair_is_there(nix: Nix, packages: dict[str, str], compiles: bool) -> None:
    expected = {
        f"pytorch-{gpu.name}-{cpu.name}"
        for gpu in gpus().values()
        for cpu in cpus().values()
        if SYSTEM in gpu.platforms and SYSTEM in cpu.platforms
    } | {f"pytorch-cpu-{cpu.name}" for cpu in cpus().values() if SYSTEM in cpu.platforms}
    if not compiles:
        targets = nix.eval(f".#{FLAGSHIP}.wheelTargets")
        expected = {n for n in expected if any(g.target in targets for g in parse_name(n).gpus)}
    # Those from the official wheel have no instruction set: test_pytorch_bin.py.
    found = {package for package in packages if re.fullmatch("pytorch-(?!bin-).*", package)}
    assert found == expected
    for companion in ("torchvision", "torchaudio"):
        assert {n.replace("pytorch", companion, 1) for n in expected} <= set(packages)


def test_no_two_variants_are_the_same(packages: dict[str, str]) -> None:
    derivations = [drv for package, drv in packages.items() if package not in ("cli", "default")]
    assert len(set(derivations)) == len(derivations)


def test_companions_are_those_of_a_whole_scope(nix: Nix, packages: dict[str, str]) -> None:
    """The small scope that they come from names every package that leads to torch."""
    scope = nix.eval(
        f".#{FLAGSHIP}.pythonPackages",
        "p: { torchvision = p.torchvision.drvPath; torchaudio = p.torchaudio.drvPath; }",
    )
    for companion, derivation in scope.items():
        assert packages[FLAGSHIP.replace("pytorch", companion, 1)] == derivation


@pytest.mark.parametrize("companion", ["torchvision", "torchaudio"])
def test_there_is_one_torch(packages: dict[str, str], companion: str) -> None:
    needed = closure(packages[FLAGSHIP.replace("pytorch", companion, 1)])
    assert torches(needed) == {packages[FLAGSHIP]}


@pytest.fixture(scope="session")
def stock(nix: Nix) -> str:
    """The torch of nixpkgs' own CUDA builds: with their configuration and without any overlay."""
    found: str = nix.eval(
        f".#legacyPackages.{SYSTEM}.pkgs",
        """pkgs: let
          cuda = if pkgs ? path then import pkgs.path {
            inherit (pkgs.stdenv.hostPlatform) system;
            overlays = [ ];
            config = { allowUnfree = true; cudaSupport = true; };
          } else pkgs;
        in (cuda.python3Packages.torch.override { cudaSupport = true; }).drvPath""",
    )
    return found


def test_the_rebuild_set(packages: dict[str, str], compiles: bool, stock: str) -> None:
    """Beside the stock CUDA torch only torch itself is another derivation, so that caches serve the rest."""
    rebuilt = rebuild_set(packages[FLAGSHIP], stock)
    if compiles:
        assert rebuilt == {packages[FLAGSHIP]}
    else:
        # The embedded torch needs the retargeting, which comes from this repository.
        tools = {path for path in rebuilt if path in closure(packages["cli"])}
        assert packages[FLAGSHIP] in rebuilt
        # Without what makes new pins, which the command line has.
        others = {name(path) for path in rebuilt - tools - {packages[FLAGSHIP]}}
        assert len(others) == 2
        assert all(re.match(r"python3\.11-pytorch-variants-|python3-3\.11-env\.drv", one) for one in others)


def test_a_cpu_variant_needs_no_cuda(packages: dict[str, str], compiles: bool) -> None:
    for variant in (v for v in packages if v.startswith("pytorch-cpu-")):
        assert not [path for path in closure(packages[variant]) if "cuda" in name(path)]


def test_a_package_set_without_cuda_is_warned_of(nix: Nix, compiles: bool) -> None:
    call = 'p: (p.mkPytorchVariant { inherit (p) pkgs; gpu = "H100"; cpu = "avx512"; }).drvPath'
    warned = nix.run("eval", f".#legacyPackages.{SYSTEM}", "--apply", call).stderr
    # The embedded set has no such setting.
    assert ("no binary cache has all" in warned) == compiles
    assert "no binary cache" not in nix.run("eval", f".#{FLAGSHIP}.drvPath").stderr


def test_specialising_the_closure(nix: Nix, compiles: bool, stock: str) -> None:
    """The other choice: what it costs is what lib/specialisedClosure.nix says."""
    call = 'make: (make { gpu = "H100"; cpu = "avx512"; specialiseClosure = true; }).drvPath'
    make = f".#legacyPackages.{SYSTEM}.mkPytorchVariant"
    if not compiles:
        assert "leave it out" in nix.error(make, call)
        return
    names = {name(path) for path in rebuild_set(nix.eval(make, call), stock)}
    libraries = ("magma", "nccl", "nvshmem", "gdrcopy", "ucc", "openmpi")
    for library in libraries:
        assert any(library in found for found in names), library
    assert len(names) == 1 + len(libraries), sorted(names)


def test_another_cuda_moves_the_whole_set(nix: Nix, compiles: bool) -> None:
    if not compiles:
        make = f".#legacyPackages.{SYSTEM}.mkPytorchVariant"
        asked = 'make: (make { gpu = "sm90"; cpu = "avx2"; cuda = "%s"; }).drvPath'
        assert "cuda13_0" in nix.eval(make, asked % "13.0")
        assert "no CUDA 12.6: take one of 12.8, 13.0" in nix.error(make, asked % "12.6")
        return
    for cuda in ("12_6", "12_8", "13_0"):
        found = nix.eval(
            f".#pytorch-cuda{cuda}-sm90-avx2",
            "p: { inherit (p) cuda pname drvPath; inherit (p.meta) broken; }",
        )
        assert found["cuda"] == cuda.replace("_", ".")
        assert found["broken"] is False


def test_another_python(nix: Nix, compiles: bool) -> None:
    name = FLAGSHIP.replace("pytorch", "pytorch-python312", 1)
    found = nix.eval(f".#{name}", "p: { inherit (p) python pname drvPath; }")
    assert found["python"] == "3.12"
    assert "-python312-" in found["pname"]
    if compiles:
        # It has the interpreter, and no longer all that torch needs for it.
        assert "no torch for Python 3.11: take one of 3.12, 3.13" in nix.error(
            f".#{FLAGSHIP.replace('pytorch', 'pytorch-python311', 1)}.drvPath"
        )


def left_out(nix: Nix, variant: str) -> set[str]:
    """The components of PyTorch that a build is told to do without."""
    return set(re.findall(r"^ *export USE_(\w+)=0$", nix.eval(f".#{variant}.preConfigure"), re.MULTILINE))


def test_cudnn_is_left_out_where_it_has_dropped_the_gpu(nix: Nix, compiles: bool) -> None:
    # The embedded set's cuDNN, 9.10, is the last that has Volta.
    assert left_out(nix, "pytorch-sm70-avx2") == ({"CUDNN"} if compiles else set())
    assert left_out(nix, FLAGSHIP) == set()


def test_avx_is_without_what_needs_more(nix: Nix) -> None:
    assert left_out(nix, "pytorch-sm90-avx") == {"FBGEMM", "MKLDNN", "NNPACK"}


def test_illegal_pairs_name_the_nearest_legal_one(nix: Nix, compiles: bool) -> None:
    if compiles:
        error = nix.error(".#pytorch-cuda13_0-sm70-avx2.drvPath")
        assert error.endswith("nearest that works here: pytorch-cuda12_9-sm70-avx2")
    error = nix.error(".#pytorch-sm90-armv9.drvPath")
    assert "armv9 is an instruction set of aarch64-linux" in error
    assert "nearest that works here: pytorch-sm90-a" in error


def test_other_systems(nix: Nix, compiles: bool) -> None:
    systems = nix.eval(".#packages", "builtins.attrNames")
    if not compiles:
        assert systems == ["aarch64-linux", SYSTEM]
        return
    assert systems == ["aarch64-darwin", "aarch64-linux", SYSTEM]
    arm = nix.eval(".#packages.aarch64-linux", DRV_PATHS)
    expected = {
        f"pytorch-{gpu}-{cpu}"
        for cpu in ("armv8_2", "armv9")
        for gpu in ["cpu", *(g.name for g in gpus().values() if "aarch64-linux" in g.platforms)]
    }
    assert {n for n in arm if n.startswith("pytorch-")} == expected
    # The default CUDA, 12.9, cannot target Thor.
    assert "cuda13_" in arm["pytorch-sm110-armv9"]
    mac = nix.eval(".#packages.aarch64-darwin", DRV_PATHS)
    assert set(mac) == {"cli", "default", "pytorch-mps", "torchaudio-mps", "torchvision-mps"}


def test_overlays_replace_torch_for_the_whole_set(nix: Nix, packages: dict[str, str]) -> None:
    assert {"default", FLAGSHIP} <= set(nix.eval(".#overlays", "builtins.attrNames"))
    torch = nix.eval(
        f".#legacyPackages.{SYSTEM}",
        f"""p: let pkgs = p.cudaPkgs.extend (p.lib.mkOverlay p.lib.variants.{FLAGSHIP}); in {{
          torch = pkgs.python3Packages.torch.drvPath;
          ofVision = pkgs.python3Packages.torchvision.drvPath;
        }}""",
    )
    assert torch == {
        "torch": packages[FLAGSHIP],
        "ofVision": packages[FLAGSHIP.replace("pytorch", "torchvision", 1)],
    }


def test_a_consumers_python_has_one_torch(nix: Nix, packages: dict[str, str], compiles: bool) -> None:
    """With whatever else needs torch, if the package set has it: the embedded one is small."""
    needed = closure(
        nix.eval(
            f".#legacyPackages.{SYSTEM}",
            f"""p: let pkgs = p.cudaPkgs.extend (p.lib.mkOverlay p.lib.variants.{FLAGSHIP}); in
              (pkgs.python3.withPackages (ps: [ ps.torch ps.torchvision ]
                ++ p.pkgs.lib.concatMap (name: if ps ? ${{name}} then [ ps.${{name}} ] else [ ])
                  [ "transformers" "accelerate" "torchmetrics" ])).drvPath""",
        )
    )
    assert torches(needed) == {packages[FLAGSHIP]}
    assert any("-transformers-" in path for path in needed)
    assert any("-accelerate-" in path for path in needed) == compiles


def test_a_nixpkgs_that_cannot(nix: Nix) -> None:
    make = f".#legacyPackages.{SYSTEM}"
    for change, way_out in (
        ('{ torch = { version = "1.9"; override = x: x; }; }', "takes no gpuTargets"),
        ('{ torch = throw "unused"; }', "unused"),
    ):
        call = f"""p: (p.mkPytorchVariant {{
          gpu = "sm90"; cpu = "avx2";
          pkgs = p.pkgs // {{ python3 = p.pkgs.python3 // {{ pkgs = p.pkgs.python3.pkgs // {change}; }}; }};
        }}).drvPath"""
        assert way_out in nix.error(make, call)
    without = """p: (p.mkPytorchVariant { gpu = "sm90"; cpu = "avx2"; pkgs = p.pkgs // {
      python3 = p.pkgs.python3 // { pkgs = removeAttrs p.pkgs.python3.pkgs [ "torch" "pytorch" ]; };
    }; }).drvPath"""
    assert "no torch in python3Packages" in nix.error(make, without)


def test_a_recipe_of_earlier_years(nix: Nix) -> None:
    """Plain attributes for the environment, no env, no structured attributes, as nixpkgs had until 2025."""
    found = nix.eval(
        f".#legacyPackages.{SYSTEM}",
        """p: let
          recipe = { gpuTargets ? [ ], cudaSupport ? false }: p.pkgs.stdenv.mkDerivation {
            pname = "torch";
            version = "2.1.2";
            USE_MKLDNN = "1";
            buildCommand = "touch $out";
            meta = { };
            preConfigure = "export TORCH_CUDA_ARCH_LIST=${builtins.concatStringsSep ";" gpuTargets}\n";
          };
          torch = p.pkgs.lib.makeOverridable recipe { };
          python3 = p.pkgs.python3 // { pkgs = p.pkgs.python3.pkgs // { inherit torch; }; };
          variant = p.mkPytorchVariant { gpu = "H100"; cpu = "avx"; pkgs = p.pkgs // { inherit python3; }; };
        in { inherit (variant) drvPath preConfigure; }""",
    )
    assert found["drvPath"].endswith("-2.1.2.drv")
    assert "TORCH_CUDA_ARCH_LIST=9.0" in found["preConfigure"]
    assert "export USE_MKLDNN=0" in found["preConfigure"]


def test_the_template_works_as_it_stands(nix: Nix, tmp_path: Path, packages: dict[str, str]) -> None:
    """A consumer's flake: one torch for all that needs it, the variant."""
    shutil.copytree(ROOT / "templates" / "default", tmp_path / "consumer")
    consumer = f"path:{tmp_path / 'consumer'}"
    result = subprocess.run(
        [
            *("nix", "eval", "--json", f"{consumer}#packages.{SYSTEM}.default", "--apply", "p: p.drvPath"),
            *("--override-input", "pytorch-variants", f"git+file://{ROOT}"),
            *("--override-input", "pytorch-variants/nixpkgs", f"path:{nix.nixpkgs}"),
            "--no-write-lock-file",
        ],
        capture_output=True,
        text=True,
        check=False,
        env=nix.environment(),
    )
    assert result.returncode == 0, result.stderr
    assert torches(closure(json.loads(result.stdout))) == {packages[FLAGSHIP]}
