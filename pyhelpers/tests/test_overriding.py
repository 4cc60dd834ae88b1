"""What comes of a variant that is overridden, over the embedded package set and a real nixpkgs ($NIXPKGS)."""

import json
from typing import Any

from conftest import Nix
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

SYSTEM = "x86_64-linux"
PACKAGES = f".#legacyPackages.{SYSTEM}"
# In the spellings that people use; an official wheel has all of them.
GPUS = {"sm_80": "8.0", "A100": "8.0", "RTX 3090": "8.6", "9.0": "9.0", "H100": "9.0", "sm120": "12.0"}

targets = st.lists(st.sampled_from(sorted(GPUS)), max_size=3)
attributes = st.fixed_dictionaries({"FOO": st.sampled_from(["1", "2"])})
arguments = st.fixed_dictionaries({}, optional={"gpuTargets": targets, "cudaSupport": st.booleans()})
# As a set, and as a function of what was there.
step = st.tuples(st.sampled_from(["override", "overrideAttrs", "overridePythonAttrs"]), arguments, attributes)
chains = st.lists(st.lists(step, max_size=4), min_size=20, max_size=20)

APPLY = """
p: let
  apply = package: { function, argument }: package.${function} argument;
  twice = package: { function, argument }: package.${function} (old: argument);
  try = read: let r = builtins.tryEval read; in if r.success then r.value else null;
  read = chain: let
    start = p.mkPytorchVariant { gpu = "sm90"; cpu = "avx512"; };
    package = builtins.foldl' (if chain.functions then twice else apply) start chain.steps;
    same = p.mkPytorchVariant { gpuTargets = chain.targets; cpu = "avx512"; };
  in try (builtins.deepSeq package.pname {
    inherit (package) pname;
    targets = package.gpuTargets or null;
    cuda = package.cuda or null;
    foo = package.FOO or null;
    description = package.meta.description;
    verify = package.tests.verify.name or null;
    named = if chain.named then same.pname else null;
    equal = chain.named && chain.plain && same.drvPath == package.drvPath;
  });
in map read (builtins.fromJSON ''CHAINS'')
"""


def _model(chain: list[tuple[str, dict[str, Any], dict[str, str]]], compiles: bool) -> dict[str, Any]:
    """What the steps come to, and the steps as Nix takes them."""
    state: dict[str, Any] = {"gpuTargets": ["9.0"], "cudaSupport": True}
    foo, steps = None, []
    for function, new, attribute in chain:
        if function == "override":
            # The wheel is CUDA's alone.
            new = new if compiles else {key: value for key, value in new.items() if key != "cudaSupport"}
            state |= new
            steps.append({"function": function, "argument": new})
        elif compiles or function == "overrideAttrs":
            foo = attribute["FOO"] if function == "overrideAttrs" or foo is None else foo
            steps.append({"function": function, "argument": attribute})
    wanted = (
        sorted({GPUS.get(gpu, gpu) for gpu in state["gpuTargets"]}, key=float) if state["cudaSupport"] else []
    )
    return {
        "steps": steps,
        "targets": wanted,
        "named": bool(wanted) or not state["cudaSupport"],
        "plain": all(step["function"] == "override" for step in steps),
        "foo": foo,
    }


@given(chains=chains, functions=st.booleans())
@settings(max_examples=2, phases=[Phase.generate])
def test_whatever_is_overridden_is_named_for_what_it_is(nix: Nix, chains: list[Any], functions: bool) -> None:
    models = [_model(chain, nix.compiles) | {"functions": functions} for chain in chains]
    found = nix.eval(PACKAGES, APPLY.replace("CHAINS", json.dumps(models)))
    for model, package in zip(models, found, strict=True):
        assert package is not None, model
        if not model["named"]:
            assert package["pname"] == "torch", model
            continue
        assert package["pname"] == package["named"], model
        assert package["targets"] == model["targets"], model
        assert package["verify"] == f"verify-{package['pname']}", model
        assert bool(package["cuda"]) == bool(model["targets"]), model
        assert package["equal"] or not model["plain"], model
        for target in model["targets"]:
            assert f"sm{target.replace('.', '')}" in package["description"], model


NAMES = """
p: let
  inherit (p) lib;
  with' = overlays: import p.cudaPkgs.path {
    inherit (p.cudaPkgs.stdenv.hostPlatform) system;
    config = lib.nixpkgsConfig { };
    inherit overlays;
  };
  set = with' [ ];
  gpu = with' [ (lib.mkOverlay { gpu = "sm90"; cpu = "avx512"; }) ];
  cpu = with' [ (lib.mkOverlay { cpu = "avx512"; }) ];
  read = torch: { inherit (torch) pname drvPath; };
  of = s: builtins.mapAttrs (_: read) {
    inherit (s.python3Packages) torch torchWithCuda torchWithoutCuda torchWithRocm;
    rocm = s.pkgsRocm.python3Packages.torch;
    cuda = s.pkgsCuda.python3Packages.torch;
    sm_80 = s.pkgsForCudaArch.sm_80.python3Packages.torch;
    sm_90 = s.pkgsForCudaArch.sm_90.python3Packages.torch;
  };
  patched = gpu.extend (_: prev: {
    pythonPackagesExtensions = prev.pythonPackagesExtensions ++ [
      (_: python: { torch = python.torch.overrideAttrs { PATCHED = "1"; }; })
    ];
  });
  torch = gpu.python3Packages.torch;
in {
  own = of set; gpu = of gpu; cpu = of cpu;
  inner = (p.mkPytorchVariant { gpu = "sm90"; cpu = "avx512"; }).pythonPackages.torchWithoutCuda.pname;
  flagless = (builtins.tryEval (torch.overrideAttrs { preConfigure = ""; }).drvPath).success;
  verified = map (package: {
    inherit (package) drvPath;
    inputs = builtins.attrNames (builtins.getContext package.environment.drvPath)
      ++ builtins.attrNames (builtins.getContext (builtins.toString package.environment.paths));
    report = package.tests.verify.drvPath;
  }) [ torch patched.python3Packages.torch (torch.override { gpuTargets = [ "8.0" ]; }) ];
}
"""


def test_nixpkgs_own_names_under_an_overlay(nix: Nix) -> None:
    """They are the variant that they say, or nixpkgs' own; the embedded set has none of them."""
    if not nix.compiles:
        assert not nix.eval(
            PACKAGES, "p: p.cudaPkgs.python3Packages ? torchWithCuda || p.cudaPkgs ? pkgsCuda"
        )
        return
    found = nix.eval(PACKAGES, NAMES)
    own, gpu, cpu = found["own"], found["gpu"], found["cpu"]
    variant, without = gpu["torch"]["pname"], cpu["torch"]["pname"]
    assert variant.endswith("-sm90-avx512")
    assert without.endswith("-cpu-avx512")
    # ROCm, and another GPU's package set, have nixpkgs' own.
    for name in ("torchWithRocm", "rocm", "sm_80"):
        assert gpu[name] == own[name], name
    for name in ("torchWithRocm", "torchWithCuda", "rocm"):
        assert cpu[name] == own[name], name
    assert gpu["torchWithCuda"] == gpu["cuda"] == gpu["torch"]
    assert gpu["torchWithoutCuda"]["pname"] == without == found["inner"]
    assert gpu["sm_90"]["pname"] == variant
    assert cpu["torchWithoutCuda"] == cpu["torch"]
    assert not found["flagless"]
    # Each proof is of its own torch.
    assert len({package["report"] for package in found["verified"]}) == 3
    for package in found["verified"]:
        assert package["drvPath"] in package["inputs"]
