"""What stands beside nixpkgs' own builds, in derivations: the proof, and the official wheel."""

from collections.abc import Iterable

from conftest import FLAGSHIP, Nix

from pytorch_variants.cost.variant import origin
from pytorch_variants.nix import closure, derivations, rebuilt

PACKAGES = ".#legacyPackages.x86_64-linux"


def names(paths: Iterable[str]) -> set[str]:
    return {path.split("-", 1)[1].removesuffix(".drv") for path in paths}


def test_the_proof_needs_little_beside_torch(nix: Nix) -> None:
    """No Nix, no Git, no Perl: what makes new pins is the command line's alone."""
    found = nix.eval(
        PACKAGES, f"p: {{ torch = p.{FLAGSHIP}.drvPath; verify = p.{FLAGSHIP}.tests.verify.drvPath; }}"
    )
    beside = names(rebuilt(found["verify"], found["torch"]))
    assert len(beside) < (20 if nix.compiles else 40), sorted(beside)
    assert not [name for name in beside if name.startswith(("nix-", "git-", "perl", "pip-"))]
    pins = names(closure(nix.eval(".#cli.drvPath")))
    assert any("nix-prefetch-github" in name for name in pins)


def test_the_official_wheel_brings_its_own_files_alone(nix: Nix) -> None:
    """Over nixpkgs: beside its CUDA torch, and the packages that it has of the wheel's CUDA."""
    torch = nix.eval(f".#{FLAGSHIP}.drvPath")
    wheel = nix.eval(".#pytorch-bin-sm90.drvPath")
    known = derivations(wheel)
    if not nix.compiles:
        downloads = [derivation for derivation in known.values() if derivation.fixed]
        assert {origin(derivation) for derivation in downloads} == {"pip's package registry"}
        return
    libraries = nix.eval(
        PACKAGES,
        """p: let
          cuda = builtins.replaceStrings [ "." ] [ "_" ] p.pytorch-bin-sm90.cuda;
          cudaPackages = p.cudaPkgs."cudaPackages_${cuda}";
          wanted = builtins.filter (input: input ? pname && cudaPackages ? ${input.pname})
            p.pytorch-bin-sm90.buildInputs;
          bindings = p.cudaPkgs.python3Packages.cuda-bindings.override { inherit cudaPackages; };
        in map (package: package.drvPath)
          ([ bindings ] ++ map (input: cudaPackages.${input.pname}) wanted)""",
    )
    assert len(libraries) > 10
    served = closure(torch).union(*map(closure, libraries))
    own = known.keys() - served
    assert len(own) < 20, sorted(names(own))
    fetched = [path for path in own if known[path].fixed]
    wheels = [name for name in names(fetched) if name.endswith(".whl")]
    assert {name.split("-")[0] for name in wheels} == {"torch", "triton"}
    # The others are the sources of what the retargeting is made of.
    assert len(fetched) == 5
    assert not [name for name in names(own) if "nccl" in name or "nvshmem" in name]
