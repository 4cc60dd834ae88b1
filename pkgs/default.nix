{
  pkgs,
  cudaPkgs,
  variantsLib,
}:

# What one nixpkgs gives, without CUDA and with it: one function, called for every row of the hardware table.
let
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) system;
  inherit (variantsLib) mkPytorchVariant;

  companions = [
    "torchvision"
    "torchaudio"
  ];
  flagship =
    {
      x86_64-linux = "pytorch-sm90-avx512";
      aarch64-linux = "pytorch-sm90-armv9";
      aarch64-darwin = "pytorch-mps";
    }
    .${system};

  undotted = lib.replaceStrings [ "." ] [ "" ];
  underscored = lib.replaceStrings [ "." ] [ "_" ];

  pythons = variantsLib.internal.pythonVersions cudaPkgs;
  cudas = variantsLib.internal.cudaVersions cudaPkgs;
  # The newest that the machine's driver runs, where the package set has found one.
  defaultCuda =
    let
      runs =
        cuda:
        lib.versionAtLeast cudaPkgs.driver
          variantsLib.hardware.drivers.${lib.versions.major cuda};
      running = lib.sort lib.versionOlder (lib.filter runs cudas);
    in
    if cudaPkgs.driver or null == null || running == [ ] then
      cudaPkgs.cudaPackages.cudaMajorMinorVersion
    else
      lib.last running;

  # One package set per CUDA, shared by all its variants: extending it for each would cost as much again.
  pkgsFor = lib.genAttrs cudas (variantsLib.internal.withCuda cudaPkgs);

  refusal = variantsLib.internal.nixpkgsRefusal cudaPkgs;

  # The default CUDA, or for a GPU that it cannot target the nearest one that can.
  resolveCuda =
    { gpu, cuda, ... }:
    if cuda != null then
      cuda
    else if gpu == null then
      defaultCuda
    else
      let
        wanted = variantsLib.parseGpu gpu;
      in
      variantsLib.internal.nearestCuda wanted defaultCuda (
        lib.filter (cuda: refusal wanted cuda == null) cudas
      );

  build =
    choice:
    mkPytorchVariant (
      removeAttrs choice [ "cuda" ]
      // {
        pkgs = if choice.gpu == null then pkgs else pkgsFor.${resolveCuda choice} or cudaPkgs;
      }
    );

  buildable =
    choice:
    let
      first = pkgs.python3Packages.torch;
      # Official wheels differ with their CUDA; what is compiled does not.
      stock =
        if first ? wheelTargets then
          (pkgsFor.${resolveCuda choice} or pkgs).python3Packages.torch
        else
          first;
    in
    variantsLib.internal.problem {
      inherit refusal system;
      cpu = variantsLib.parseCpu choice.cpu;
      gpus = lib.optional (choice.gpu != null) (variantsLib.parseGpu choice.gpu);
      cuda = resolveCuda choice;
      pytorch = stock.version;
      wheelTargets = stock.wheelTargets or null;
    } == null;

  # "pytorch-sm90-avx512" -> "pytorch-python312-cuda12_8-sm90-avx512"
  spell =
    name:
    { python, cuda, ... }:
    "pytorch${part "python" undotted python}${part "cuda" underscored cuda}-${lib.removePrefix "pytorch-" name}";
  part =
    word: spelled: version:
    lib.optionalString (version != null) "-${word}${spelled version}";

  # Every variant of the table, with every given Python and CUDA spelled out; null leaves it out.
  choices =
    pythons: cudas:
    lib.listToAttrs (
      lib.concatLists (
        lib.mapAttrsToList (
          name: variant:
          map (versions: lib.nameValuePair (spell name versions) (variant // versions)) (
            lib.cartesianProduct {
              python = pythons;
              cuda = if variant.gpu == null then [ null ] else cudas;
            }
          )
        ) variantsLib.variants
      )
    );

  # The variant itself and what is built for it, under the same name.
  withCompanions =
    variants:
    lib.foldl' (
      packages: companion:
      packages
      // lib.mapAttrs' (
        name: variant: lib.nameValuePair (companion + lib.removePrefix "pytorch" name) variant.${companion}
      ) variants
    ) variants companions;

  variants =
    lib.mapAttrs (_: build) (lib.filterAttrs (_: buildable) (choices [ null ] [ null ]))
    // mps;
  # A Mac has one kind of CPU and of GPU.
  mps = lib.optionalAttrs (lib.hasSuffix "-darwin" system) {
    pytorch-mps = mkPytorchVariant { inherit pkgs; };
  };

  # The official wheel for one architecture, for every GPU of the table that this system can have.
  bins =
    { python, cuda }:
    let
      scope = cudaPkgs."python${if python == null then "3" else undotted python}".pkgs;
      # What nixpkgs' wheel is built with; the embedded set has one for each of its CUDAs.
      only = variantsLib.internal.wheelCuda scope;
      bin =
        gpu:
        if cuda != null && only != null && cuda != only then
          throw "pytorch-bin-${gpu}: the official wheel of this package set is built with CUDA ${only}: leave cuda${underscored cuda} out"
        else
          variantsLib.mkPytorchBin {
            inherit gpu python;
            # Shared as variants share theirs.
            pkgs = pkgsFor.${if only != null then only else resolveCuda { inherit gpu cuda; }} or cudaPkgs;
          };
      # Python is named before "-bin" or after it.
      spellings =
        gpu:
        map (end: "pytorch${end}-${gpu}") [
          "${part "python" undotted python}-bin${part "cuda" underscored cuda}"
          "-bin${part "python" undotted python}${part "cuda" underscored cuda}"
        ];
    in
    lib.listToAttrs (
      lib.concatMap (gpu: map (name: lib.nameValuePair name (bin gpu)) (spellings gpu)) (
        lib.attrNames (
          lib.filterAttrs (_: gpu: lib.elem system gpu.platforms) variantsLib.hardware.gpus
        )
      )
    );

  # nixpkgs' own CUDA build, cut down: such names are read, and nothing builds them yet.
  cached = lib.mapAttrs' (
    gpu: _:
    lib.nameValuePair "pytorch-${gpu}" (
      throw "pytorch-${gpu}: nixpkgs' own build cannot be cut down to one GPU yet; write pytorch-${gpu}-${lib.head commonHere} to compile it, or pytorch-bin-${gpu} for the official wheel"
    )
  ) (lib.filterAttrs (_: gpu: lib.elem system gpu.platforms) variantsLib.hardware.gpus);
  commonHere = lib.filter (
    cpu: lib.elem system variantsLib.hardware.cpus.${cpu}.platforms
  ) variantsLib.hardware.common;
  cli =
    arguments:
    pkgs.python3Packages.toPythonApplication (
      pkgs.python3Packages.pytorch-variants.override arguments
    );
  buildableBins = lib.filterAttrs (_: bin: (builtins.tryEval bin).success) (bins {
    python = null;
    cuda = null;
  });

  packages =
    withCompanions variants
    // buildableBins
    // {
      default = variants.${flagship};
      # What makes new pins is a part of it; a build has no use for that.
      cli = cli { withPins = true; } // {
        withoutPins = cli { };
      };
    };
  checks = import ../checks {
    inherit
      lib
      pkgs
      variantsLib
      variants
      flagship
      ;
  };
in
{
  /**
    A package per name, short or with Python or CUDA or both spelled out. A variant that this package set
    cannot build throws a line that says why and what to write instead.
  */
  all =
    withCompanions (lib.mapAttrs (_: build) (choices ([ null ] ++ pythons) ([ null ] ++ cudas)))
    // lib.foldl' (all: versions: all // bins versions) { } (
      lib.cartesianProduct {
        python = [ null ] ++ pythons;
        cuda = [ null ] ++ cudas;
      }
    )
    // cached
    // mps
    // {
      # For what has no name: flags of one's own, several GPUs in any spelling.
      mkPytorchVariant =
        arguments:
        mkPytorchVariant (
          { pkgs = if arguments ? gpu || arguments ? gpuTargets then cudaPkgs else pkgs; } // arguments
        );
      lib = variantsLib;
      inherit pkgs cudaPkgs;
    };

  /**
    Those with short names that this package set can build, and the command line.
  */
  inherit packages;

  /**
    A shell with each variant's Python.
  */
  devShells =
    lib.mapAttrs (_: variant: pkgs.mkShell { packages = [ variant.environment ]; }) variants
    // {
      default = pkgs.mkShell { packages = [ variants.${flagship}.environment ]; };
    };

  inherit checks;

  /**
    What a build farm builds: the packages, the proof of each, and one job for all of it.
  */
  jobs = rec {
    inherit checks packages;
    tests = lib.mapAttrs (_: variant: variant.tests.verify) (variants // buildableBins);
    all = pkgs.callPackage ../checks/aggregate.nix {
      inherit system;
      jobs = lib.attrValues packages ++ lib.attrValues tests;
    };
  };

  /**
    Programs that verify a variant on this machine's GPU.
  */
  apps =
    let
      app = variant: {
        type = "app";
        program = "${variant.verify}/bin/${variant.verify.meta.mainProgram}";
        meta.description = "Verify ${variant.pname} on this machine's GPU";
      };
    in
    lib.mapAttrs' (name: variant: lib.nameValuePair "verify-${name}" (app variant)) (
      variants // buildableBins
    )
    // {
      verify = app variants.${flagship};
    };

  formatter = pkgs.nixfmt-tree or null;
}
