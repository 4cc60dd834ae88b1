"""The official wheel as a package for one architecture."""

import json
from pathlib import Path

import pytest
from binaries import contents
from conftest import ROOT, Nix

from pytorch_variants.hardware import table

PACKAGES = ".#packages.x86_64-linux"


def test_one_for_every_gpu_that_the_wheel_has_code_for(nix: Nix) -> None:
    found = nix.eval(
        PACKAGES,
        """packages: let
          isBin = name: builtins.match "pytorch-bin-.*" name != null;
        in builtins.listToAttrs (map (name: {
          inherit name;
          value = { inherit (packages.${name}) code cuda pname; drv = packages.${name}.drvPath; };
        }) (builtins.filter isBin (builtins.attrNames packages)))""",
    )
    codes = {name.removeprefix("pytorch-bin-"): item["code"] for name, item in found.items()}
    assert codes.items() >= {"sm75": ["7.5"], "sm80": ["8.0"], "sm90": ["9.0"], "sm120": ["12.0"]}.items()
    # Binary compatibility within the major compute capability.
    assert codes.items() >= {"sm89": ["8.6"], "sm103": ["10.0"]}.items()
    assert not codes.keys() & {"sm61", "sm87", "sm110", "sm121"}
    assert all(item["pname"] == name for name, item in found.items())
    assert len({item["drv"] for item in found.values()}) == len(found)


def test_a_gpu_that_the_wheel_has_no_code_for(nix: Nix) -> None:
    message = nix.error(".#legacyPackages.x86_64-linux.pytorch-bin-sm61.drvPath")
    assert message.startswith("pytorch-bin-sm61: the official PyTorch ")
    assert "has no code that sm61 runs, it has sm" in message
    assert "mkPytorchVariant" in message


def test_spellings_and_a_python_that_is_not_there(nix: Nix) -> None:
    make = """legacy: let make = legacy.lib.mkPytorchBin; in
      (make { inherit (legacy) pkgs; gpu = "NVIDIA L40S"; }).pname"""
    assert nix.eval(".#legacyPackages.x86_64-linux", make) == "pytorch-bin-sm89"
    missing = make.replace('gpu = "NVIDIA L40S";', 'gpu = "sm90"; python = "3.4";')
    assert "no Python 3.4" in nix.error(".#legacyPackages.x86_64-linux", missing)


def test_several_gpus(nix: Nix) -> None:
    """In any order and spelling, as attributes and read from a name that is none, with Python and CUDA."""
    make = """legacy: let wheel = legacy.lib.mkPytorchBin {
        inherit (legacy) pkgs;
        gpuTargets = [ "L40S" "H200" "A100" "9.0" ];
      }; in { inherit (wheel) code gpu pname; }"""
    assert nix.eval(".#legacyPackages.x86_64-linux", make) == {
        "code": ["8.0", "8.6", "9.0"],
        "gpu": "sm80-sm89-sm90",
        "pname": "pytorch-bin-sm80-sm89-sm90",
    }
    same = """legacy: map (variant: variant.drvPath) [
      legacy.pytorch-bin-sm80-sm90 (legacy.named "pytorch-bin-sm90-sm80")
      legacy.pytorch-sm75-sm80-sm90-avx2 (legacy.named "pytorch-sm90-sm80-sm75-avx2")
      legacy.torchvision-sm80-sm90-avx2 (legacy.named "torchvision-sm90-sm80-avx2")
    ]"""
    found = nix.eval(".#legacyPackages.x86_64-linux", same)
    assert found[::2] == found[1::2]


def test_a_name_of_several_gpus_with_a_cuda(embedded: Nix) -> None:
    name = "pytorch-bin-cuda13_0-sm75-sm80-sm90-sm120"
    found = embedded.eval(".#named", f'named: {{ inherit (named "{name}") cuda gpu version; }}')
    assert (found["cuda"], found["gpu"]) == ("13.0", "sm75-sm80-sm90-sm120")


def test_the_table_is_what_the_wheels_have() -> None:
    """What is said of a release, against the pins, which were read from the wheels themselves."""
    for pinned in json.loads((ROOT / "pkgs/embedded/wheels.json").read_text())["releases"]:
        [version] = {wheels["torch"]["version"] for wheels in pinned["pythons"].values()}
        known = table.wheels()[".".join(version.split(".")[:2])]
        assert (known.cuda, list(known.targets[pinned["system"]])) == (pinned["cuda"], pinned["gpuTargets"])


def test_nix_has_the_table_by_cuda(nix: Nix) -> None:
    found = nix.lib("lib.internal.wheelTargets")
    assert found == {wheel.cuda: list(wheel.targets["x86_64-linux"]) for wheel in table.wheels().values()}


def test_it_is_what_its_name_says(embedded: Nix) -> None:
    """Built: sm_86 code for an L40S, sm_89 code where kernels have it, by every variant's verification."""
    report = embedded.build(".#pytorch-bin-sm89.tests.verify")
    data = json.loads((report / "report.json").read_text())
    assert data["passed"]
    assert data["variant"] == "pytorch-bin-sm89"
    found = {row["check"]: row for row in reversed(data["findings"])}
    for check, codes in {"architecture flags": ["sm_86"], "GPU code": ["sm_86", "sm_89"]}.items():
        assert (found[check]["expected"], found[check]["found"]) == (["sm_89"], codes)
        assert found[check]["detail"] in ("which the GPU runs", "it runs there")


def test_kernels_for_this_gpu_alone_keep_their_code(embedded: Nix, official_libraries: Path) -> None:
    """Rowwise FP8 products, whose sm_86 code in the same container is a tenth as large."""
    [library] = embedded.build(".#pytorch-bin-sm89").glob(
        "lib/python3*/site-packages/torch/lib/libtorch_cuda.so"
    )
    with_89 = [
        entries for entries in contents(official_libraries / "libtorch_cuda.so") if "cubin sm_89" in entries
    ]
    assert with_89
    assert sorted(entries for entries in contents(library) if "cubin sm_89" in entries) == [
        ["cubin sm_89"]
    ] * len(with_89)


def test_its_program_verifies_it_on_a_gpu(embedded: Nix) -> None:
    program = embedded.eval(".#apps.x86_64-linux.verify-pytorch-bin-sm89", "app: app.program")
    assert program.endswith("/bin/verify-pytorch-bin-sm89")


@pytest.mark.parametrize("companion", ["torchvision", "torchaudio"])
def test_companions_have_the_code_of_their_torch(embedded: Nix, companion: str) -> None:
    package = embedded.build(f".#{companion}-sm90-avx512")
    found = {
        entry
        for library in package.glob(f"lib/python3*/site-packages/{companion}/**/*.so")
        for container in contents(library)
        for entry in container
    }
    assert found == {"cubin sm_90"}
