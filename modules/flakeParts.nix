# For flake-parts: perSystem.pytorch-variants.variant = "pytorch-sm90-avx512"; and `pkgs` has that torch.
{
  lib,
  inputs,
  flake-parts-lib,
  ...
}:

let
  variantsLib = import ../lib { inherit lib; };
in
{
  options.perSystem = flake-parts-lib.mkPerSystemOption (
    {
      config,
      pkgs,
      system,
      ...
    }:
    let
      inherit (config.pytorch-variants) variant;
      wanted = variantsLib.ofName variant;
      inherit ((wanted.python pkgs).pkgs) torch;
    in
    {
      options.pytorch-variants.variant = lib.mkOption {
        type = lib.types.nullOr lib.types.str;
        default = null;
        example = "pytorch-sm90-avx512";
        description = ''
          The PyTorch of `pkgs`, by its name, with or without a Python and a CUDA release. It is a package of the flake,
          with a shell, and a check that it is what its name says. `null` changes nothing.
        '';
      };

      config = lib.mkIf (variant != null) {
        # flake-parts' own is an option's default, so that this counts, and what the flake says counts more.
        _module.args.pkgs = lib.mkDefault (
          import inputs.nixpkgs {
            inherit system;
            inherit (wanted) config;
            overlays = [ wanted.overlay ];
          }
        );
        packages.${variant} = torch;
        devShells.${variant} = pkgs.mkShell { packages = [ torch.environment ]; };
        checks = variantsLib.mkChecks { variants.${variant} = torch; };
      };
    }
  );
}
