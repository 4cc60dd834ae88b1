"""Every package of every system, held against the package set that it is of: embedded, or $NIXPKGS."""

import re
from typing import Any

import pytest
from conftest import Nix

from pytorch_variants.hardware.compatibility import runs_on
from pytorch_variants.nix import Derivation, derivations, rebuilt

# What a variant says, and what its CUDA packages are.
PACKAGES = """
builtins.mapAttrs (_: packages: builtins.mapAttrs (_: p: {
  inherit (p) drvPath;
  python = p.pythonModule.pythonVersion or null;
} // (if !(p.cudaSupport or false) then { } else {
  inherit (p) cuda gpuTargets rebuilt leftOut;
  release = p.cudaPackages.cudaMajorMinorVersion;
  cudnn = p.cudaPackages.cudnn.version;
  platform = p.cudaPackages.backendStdenv.hostRedistSystem or null;
})) packages)
"""

# What the package set allows: CUDA releases of each compute capability, and NVIDIA's platform by release.
ALLOWED = """
builtins.mapAttrs (system: p: let
  pkgs = p.cudaPkgs;
  cudas = p.lib.internal.cudaVersions pkgs;
  capabilities = builtins.mapAttrs (capability: info: {
    min = info.minCudaMajorMinorVersion;
    max = info.maxCudaMajorMinorVersion;
    platforms = builtins.listToAttrs (map (cuda: {
      name = cuda;
      value = pkgs._cuda.lib.getRedistSystem {
        inherit system;
        cudaCapabilities = [ capability ];
        cudaMajorMinorVersion = cuda;
      };
    }) cudas);
  }) (pkgs._cuda.db.cudaCapabilityToInfo or { });
in {
  inherit cudas capabilities;
  pythons = p.lib.internal.pythonVersions pkgs;
  cudnn = builtins.mapAttrs (_: gpu: gpu.cudnn.max or null) p.lib.hardware.gpus;
})
"""

# What torch links with GPU code in it, of the package set's own making.
LINKED = re.compile(r"-(?:cuda(?P<cuda>[\d.]+)-)?(?P<library>nccl|libnvshmem|magma)-\d")
ANY_CUDA = re.compile(r"-cuda(?P<cuda>\d+\.\d+)-")


@pytest.fixture(scope="module")
def packages(nix: Nix) -> dict[tuple[str, str], Any]:
    """By system and name. That they are here says that all of them can be instantiated."""
    found = nix.eval(".#packages", PACKAGES)
    return {(system, name): p for system, those in found.items() for name, p in those.items()}


@pytest.fixture(scope="module")
def variants(packages: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    return {key: package for key, package in packages.items() if "gpuTargets" in package}


@pytest.fixture(scope="module")
def allowed(nix: Nix) -> Any:
    return nix.eval(".#legacyPackages", ALLOWED)


def version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


def number(target: str) -> int:
    return int(target.rstrip("af").replace(".", ""))


def built_for(library: Derivation) -> set[tuple[int, str]]:
    """The architectures that a library is compiled for, by its own build's flags."""
    text = str(dict(library.attributes))
    codes = re.findall(r"code=sm_(\d+)([af]?)", text)
    for listed in re.findall(r"CMAKE_CUDA_ARCHITECTURES:STRING=([\d;af]+)", text):
        codes += re.findall(r"(\d+)([af]?)", listed)
    return {(int(arch), suffix) for arch, suffix in codes}


def test_its_python_cuda_and_platform_are_what_the_package_set_allows(
    nix: Nix, packages: dict[tuple[str, str], Any], variants: dict[tuple[str, str], Any], allowed: Any
) -> None:
    assert len(variants) > (80 if nix.compiles else 40)
    for (system, name), package in packages.items():
        assert package["python"] in [None, *allowed[system]["pythons"]], (system, name)
    for (system, name), package in variants.items():
        known = allowed[system]
        assert package["cuda"] == package["release"], (system, name)
        assert package["cuda"] in known["cudas"], (system, name)
        for target in package["gpuTargets"]:
            last = known["cudnn"][f"sm{number(target)}"]
            if last and nix.compiles:
                assert version(package["cudnn"])[:2] <= version(last) or "cudnn" in package["rebuilt"], name
            if not nix.compiles:
                continue
            info = known["capabilities"][target]
            assert version(info["min"]) <= version(package["cuda"]), (system, name)
            assert info["max"] is None or version(package["cuda"]) <= version(info["max"]), (system, name)
            assert package["platform"] == info["platforms"][package["cuda"]], (system, name)


def test_what_it_links_has_code_for_every_target(nix: Nix, variants: dict[tuple[str, str], Any]) -> None:
    """As the derivations say: of torch what it takes, of that for what it is compiled."""
    torches = derivations(*{package["drvPath"] for package in variants.values()}, needed=False)
    inputs = {path for torch in torches.values() for path in torch.inputs if LINKED.search(path)}
    assert bool(inputs) == nix.compiles
    codes = (
        {path: built_for(library) for path, library in derivations(*inputs, needed=False).items()}
        if inputs
        else {}
    )
    for key, package in variants.items():
        libraries = {path for path in torches[package["drvPath"]].inputs if path in codes}
        names = {match["library"] for path in libraries if (match := LINKED.search(path))}
        left_out = {"NCCL": "nccl", "NVSHMEM": "libnvshmem"}
        for component, library in left_out.items():
            assert (component in package["leftOut"]) != (library in names) or not nix.compiles, (key, library)
        for path in libraries:
            assert codes[path], path
            for target in package["gpuTargets"]:
                runs = [runs_on("cubin", *code, number(target)) for code in codes[path]]
                assert any(runs), (key, path, codes[path])
        # One CUDA among all that it takes.
        cudas = {
            match["cuda"] for path in torches[package["drvPath"]].inputs if (match := ANY_CUDA.search(path))
        }
        assert cudas <= {package["cuda"]}, key


# What a variant changes beside the torch of its own package set with CUDA, as nixpkgs has it.
REBUILT = """
p: let
  pkgs = cudaSupport: if p.pkgs ? path then import p.pkgs.path {
    inherit (p.pkgs.stdenv.hostPlatform) system;
    config = p.lib.nixpkgsConfig { inherit cudaSupport; };
    overlays = [ ];
  } else p.pkgs;
  stock = v: ((pkgs v.cudaSupport)."python${builtins.replaceStrings [ "." ] [ "" ] v.python}Packages"
    .torch.override { inherit (v) cudaSupport; }).drvPath;
in map (name: let v = p.${name}; in {
  inherit (v) drvPath rebuilt leftOut;
  stock = stock v;
}) [ NAMES ]
"""
NAMES = [
    "pytorch-sm80-avx2",
    "pytorch-sm90-avx512",
    "pytorch-sm120-x86-64-v4",
    "pytorch-sm61-avx2",
    "pytorch-sm70-avx512",
    "pytorch-cpu-avx2",
    "pytorch-python312-sm90-avx512",
    "pytorch-cuda12_8-sm90-avx512",
    "pytorch-cuda13_0-sm90-avx512",
]
# CUDA's own packages, and what is made of them and goes into torch.
OF_CUDA = re.compile(
    r"cuda|nvidia|libnv|libcu|nccl|cudnn|gdrcopy|triton|magma|openmpi|pmix|prrte|hwloc|ucc|ucx|-source$"
)


def test_what_is_rebuilt(nix: Nix) -> None:
    """Torch, what it says it rebuilds with its source, and for another CUDA what is of CUDA: nothing else."""
    # The embedded set has no package for other CUDAs and no code for Pascal.
    names = NAMES if nix.compiles else ["pytorch-sm80-avx2", "pytorch-sm90-avx512"]
    texts = " ".join(f'"{name}"' for name in names)
    found = nix.eval(".#legacyPackages.x86_64-linux", REBUILT.replace("NAMES", texts))
    sizes = {}
    for name, package in zip(names, found, strict=True):
        others = {
            re.sub(r"^python3\.\d+-", "", path.split("-", 1)[1].removesuffix(".drv"))
            for path in rebuilt(package["drvPath"], package["stock"]) - {package["drvPath"]}
        }
        sizes[name] = len(others)
        if not nix.compiles:
            # The retargeting, which the official wheel as it is does without.
            assert not [other for other in others if "torch-2" in other]
        elif "-cuda" in name:
            assert 30 < len(others) < 100
            assert all(OF_CUDA.search(other) for other in others), others
        else:
            libraries = {library for library in package["rebuilt"] if any(library in one for one in others)}
            assert libraries == set(package["rebuilt"])
            assert all(any(library in one for library in libraries) for one in others), others
    if nix.compiles:
        assert sizes["pytorch-sm90-avx512"] == sizes["pytorch-python312-sm90-avx512"] == 0
        assert 0 < sizes["pytorch-sm61-avx2"] < sizes["pytorch-sm70-avx512"] < 10
