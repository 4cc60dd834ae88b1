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

  # The default CUDA, or for GPUs that it cannot target the nearest one that can.
  resolveCuda =
    {
      gpu ? null,
      gpuTargets ? lib.optional (gpu != null) gpu,
      cuda ? null,
      ...
    }:
    let
      wanted = map variantsLib.parseGpu gpuTargets;
      targets =
        cuda:
        lib.all (
          gpu: variantsLib.internal.cudaTargets gpu cuda && refusal gpu cuda == null
        ) wanted;
    in
    if cuda != null then
      cuda
    else if wanted == [ ] then
      defaultCuda
    else
      variantsLib.internal.nearestCuda (lib.head wanted) defaultCuda (lib.filter targets cudas);

  build =
    choice:
    mkPytorchVariant (
      removeAttrs choice [ "cuda" ]
      // {
        pkgs =
          if choice.gpu or null == null && !choice ? gpuTargets then
            pkgs
          else
            pkgsFor.${resolveCuda choice} or cudaPkgs;
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

  # The official wheel for some architectures.
  bin =
    {
      python,
      cuda,
      gpuTargets,
    }:
    let
      scope = cudaPkgs."python${if python == null then "3" else undotted python}".pkgs;
      # What nixpkgs' wheel is built with; the embedded set has one for each of its CUDAs.
      only = variantsLib.internal.wheelCuda scope;
    in
    if cuda != null && only != null && cuda != only then
      throw "pytorch-bin-${lib.concatStringsSep "-" gpuTargets}: the official wheel of this package set is built with CUDA ${only}: leave cuda${underscored cuda} out"
    else
      variantsLib.mkPytorchBin {
        inherit gpuTargets python;
        # Shared as variants share theirs.
        pkgs =
          pkgsFor.${if only != null then only else resolveCuda { inherit gpuTargets cuda; }} or cudaPkgs;
      };

  # The GPUs of the table that this system can have.
  gpusHere = lib.attrNames (
    lib.filterAttrs (_: gpu: lib.elem system gpu.platforms) variantsLib.hardware.gpus
  );

  # One for each of them.
  bins =
    { python, cuda }:
    let
      # Python is named before "-bin" or after it.
      spellings =
        gpu:
        map (end: "pytorch${end}-${gpu}") [
          "${part "python" undotted python}-bin${part "cuda" underscored cuda}"
          "-bin${part "python" undotted python}${part "cuda" underscored cuda}"
        ];
    in
    lib.listToAttrs (
      lib.concatMap (
        gpu:
        map (
          name:
          lib.nameValuePair name (bin {
            inherit python cuda;
            gpuTargets = [ gpu ];
          })
        ) (spellings gpu)
      ) gpusHere
    );

  # Names of several GPUs are too many to be all listed.
  named = name: all.${name} or (read name);
  read =
    name:
    let
      asked = variantsLib.parseName name;
      choice = {
        inherit (asked) python cuda;
        gpuTargets = map (gpu: gpu.target) asked.gpus;
      };
      variant = build (choice // { cpu = asked.cpu.name; });
    in
    if asked.cuda != null && !lib.elem asked.cuda cudas then
      throw "${name}: this package set has no CUDA ${asked.cuda}: write one of ${lib.concatStringsSep ", " cudas}, or leave it out"
    else if asked.kind == "wheel" then
      bin choice
    else if asked.kind == "cached" then
      uncut asked.gpus
    else
      {
        pytorch = variant;
        inherit (variant) torchvision torchaudio;
      }
      .${asked.package};

  # The short names of two and of three GPUs, in order.
  severalGpus =
    let
      later = gpu: lib.filter (other: order gpu < order other) gpusHere;
      order = gpu: lib.toInt (lib.removePrefix "sm" gpu);
      pairs = lib.concatMap (gpu: map (other: [ gpu other ]) (later gpu)) gpusHere;
      groups = pairs ++ lib.concatMap (pair: map (gpu: pair ++ [ gpu ]) (later (lib.last pair))) pairs;
      cpusHere = lib.attrNames (
        lib.filterAttrs (_: cpu: lib.elem system cpu.platforms) variantsLib.hardware.cpus
      );
    in
    lib.genAttrs (lib.concatMap (
      gpus:
      let
        part = lib.concatStringsSep "-" gpus;
      in
      [ "pytorch-bin-${part}" ]
      ++ lib.concatMap (package: map (cpu: "${package}-${part}-${cpu}") cpusHere) (
        [ "pytorch" ] ++ companions
      )
    ) groups) read;

  # nixpkgs' own CUDA build, cut down: such names are read, and nothing builds them yet.
  cached = lib.listToAttrs (
    map (gpu: lib.nameValuePair "pytorch-${gpu}" (uncut [ variantsLib.hardware.gpus.${gpu} ])) gpusHere
  );
  uncut =
    gpus:
    let
      names = lib.concatMapStringsSep "-" (gpu: gpu.name) gpus;
    in
    throw "pytorch-${names}: nixpkgs' own build cannot be cut down yet; write pytorch-${names}-${lib.head commonHere} to compile it, or pytorch-bin-${names} for the official wheel";
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
  all =
    severalGpus
    // withCompanions (lib.mapAttrs (_: build) (choices ([ null ] ++ pythons) ([ null ] ++ cudas)))
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
      inherit named pkgs cudaPkgs;
    };
in
{
  /**
    A package per name, short or with Python or CUDA or both spelled out; of two or three GPUs those with short names, and
    `named` takes any name. A variant that this package set cannot build throws a line that says why and what to write
    instead.
  */
  inherit all;

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
