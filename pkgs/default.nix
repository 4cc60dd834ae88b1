{ pkgs, variantsLib }:

let
  inherit (pkgs) lib;
  inherit (pkgs.stdenv.hostPlatform) system;
  inherit (variantsLib) hardware mkPytorchVariant problem;

  stock = pkgs.python3Packages.torch;

  # Every GPU and every instruction set of the table that this kind of machine can have.
  onSystem = lib.filterAttrs (_: entry: lib.elem system entry.platforms);
  short =
    cpu: gpu: lib.nameValuePair "pytorch-${if gpu == null then "cpu" else gpu.name}-${cpu.name}" { inherit cpu gpu; };
  choices = lib.listToAttrs (
    lib.concatMap (cpu: map (short cpu) ([ null ] ++ lib.attrValues (onSystem hardware.gpus))) (
      lib.attrValues (onSystem hardware.cpus)
    )
  );

  build =
    { cpu, gpu }:
    mkPytorchVariant {
      inherit pkgs;
      cpu = cpu.name;
      gpu = if gpu == null then null else gpu.name;
    };

  buildable =
    { cpu, gpu }:
    problem {
      inherit cpu system;
      gpus = lib.optional (gpu != null) (variantsLib.parseGpu gpu.name);
      cuda = pkgs.cudaPackages.cudaMajorMinorVersion;
      pytorch = stock.version;
      wheelTargets = stock.wheelTargets or null;
    } == null;
in
rec {
  /**
    One package per name, for all GPUs and instruction sets of this system. A variant that this package
    set cannot build throws a line that says why and what to write instead.
  */
  all = lib.mapAttrs (_: build) choices;

  /**
    Those of `all` that this package set can build.
  */
  packages = lib.mapAttrs (_: build) (lib.filterAttrs (_: buildable) choices) // {
    default = packages.pytorch-sm90-avx512;
    inherit cli;
  };

  cli = pkgs.python3Packages.toPythonApplication pkgs.python3Packages.pytorch-variants;
}
