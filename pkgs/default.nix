{ pkgs, variantsLib }:

# The variants of one package set: one function, called for every row of the hardware table.
let
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) system;
  inherit (variantsLib)
    hardware
    mkPytorchVariant
    nearestCuda
    problem
    ;

  defaultCuda = pkgs.cudaPackages.cudaMajorMinorVersion;
  pythons = lib.filter (version: pkgs ? ${"python${undotted version}"}) [
    "3.11"
    "3.12"
    "3.13"
  ];

  cudas = variantsLib.cudaVersions pkgs;

  # One package set per CUDA, shared by all its variants: extending it for each would cost as much again.
  pkgsFor = lib.genAttrs cudas (variantsLib.withCuda pkgs);

  undotted = lib.replaceStrings [ "." ] [ "" ];
  underscored = lib.replaceStrings [ "." ] [ "_" ];

  # The default CUDA, or for a GPU that it cannot target the nearest one that can.
  resolveCuda =
    { gpu, cuda, ... }:
    if cuda != null then
      cuda
    else if gpu == null then
      defaultCuda
    else
      nearestCuda gpu defaultCuda cudas;

  build =
    choice:
    mkPytorchVariant {
      pkgs = pkgsFor.${resolveCuda choice} or pkgs;
      inherit (choice) python;
      cpu = choice.cpu.name;
      gpu = if choice.gpu == null then null else choice.gpu.name;
    };

  buildable =
    choice:
    let
      stock = pkgs.python3Packages.torch;
    in
    problem {
      inherit (choice) cpu;
      inherit system;
      gpus = lib.optional (choice.gpu != null) (variantsLib.parseGpu choice.gpu.name);
      cuda = resolveCuda choice;
      pytorch = stock.version;
      wheelTargets = stock.wheelTargets or null;
    } == null;

  named =
    choice:
    lib.nameValuePair (lib.concatStringsSep "-" (
      [ "pytorch" ]
      ++ lib.optional (choice.python != null) "python${undotted choice.python}"
      ++ lib.optional (choice.cuda != null) "cuda${underscored choice.cuda}"
      ++ [
        (if choice.gpu == null then "cpu" else choice.gpu.name)
        choice.cpu.name
      ]
    )) choice;

  choices =
    pythons: cudas:
    let
      combine =
        gpu: cuda:
        lib.cartesianProduct {
          inherit gpu cuda;
          cpu = lib.attrValues hardware.cpus;
          python = pythons;
        };
    in
    lib.listToAttrs (map named (combine [ null ] [ null ] ++ combine (lib.attrValues hardware.gpus) cudas));

  short = choices [ null ] [ null ];
in
rec {
  /**
    A package per name, short or with Python or CUDA or both spelled out. A variant that this package set
    cannot build throws a line that says why and what to write instead.
  */
  all = lib.mapAttrs (_: build) (choices ([ null ] ++ pythons) ([ null ] ++ cudas)) // {
    # For what has no name: flags of one's own, several GPUs in any spelling.
    mkPytorchVariant = arguments: mkPytorchVariant ({ inherit pkgs; } // arguments);
  };

  /**
    Those with short names that this package set can build, and the command line.
  */
  packages = lib.mapAttrs (_: build) (lib.filterAttrs (_: buildable) short) // {
    default = packages.${if system == "x86_64-linux" then "pytorch-sm90-avx512" else "pytorch-sm90-armv9"};
    cli = pkgs.python3Packages.toPythonApplication pkgs.python3Packages.pytorch-variants;
  };
}
