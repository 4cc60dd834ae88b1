# For NixOS: programs.pytorch-variants.variant = "pytorch-sm90-avx512"; and every Python of the system has that torch.
{
  config,
  lib,
  options,
  pkgs,
  ...
}:

let
  inherit (lib) mkOption types;
  variantsLib = import ../lib { inherit lib; };
  cfg = config.programs.pytorch-variants;

  wanted = variantsLib.ofName cfg.variant;
  caches = map (cache: variantsLib.caches.${cache}) cfg.caches;
in
{
  options.programs.pytorch-variants = {
    variant = mkOption {
      type = types.nullOr types.str;
      default = null;
      example = "pytorch-sm90-avx512";
      description = ''
        The PyTorch of this system, by its name, with or without a Python and a CUDA release. Whatever needs torch gets
        it. `null` changes nothing.
      '';
    };
    extraPackages = mkOption {
      type = types.functionTo (types.listOf types.package);
      default = _: [ ];
      defaultText = lib.literalExpression "packages: [ ]";
      example = lib.literalExpression "packages: [ packages.torchvision ]";
      description = "What the system's Python has beside torch.";
    };
    caches = mkOption {
      type = types.listOf (types.enum (lib.attrNames variantsLib.caches));
      default = [ "community" ];
      description = ''
        The binary caches of nixpkgs' CUDA builds that this system asks, and whose keys it trusts. The empty list asks
        none, and builds all of CUDA's packages here.
      '';
    };
  };

  config = lib.mkIf (cfg.variant != null) {
    assertions = [
      {
        assertion = wanted.cudaSupport -> config.hardware.graphics.enable;
        message = "programs.pytorch-variants.variant: ${cfg.variant} needs NVIDIA's driver. Write hardware.graphics.enable = true; and services.xserver.videoDrivers = [ \"nvidia\" ]; (also where there is no screen)";
      }
    ];

    nixpkgs = {
      overlays = [ wanted.overlay ];
      # Before the user's own configuration, which counts where both say something. A finished package set has its own.
      config = lib.mkIf (!options.nixpkgs.pkgs.isDefined) (lib.mkBefore wanted.config);
    };

    nix.settings = lib.mkIf wanted.cudaSupport {
      substituters = map (cache: cache.url) caches;
      trusted-public-keys = map (cache: cache.key) caches;
    };

    environment.systemPackages = [
      ((wanted.python pkgs).withPackages (packages: [ packages.torch ] ++ cfg.extraPackages packages))
    ];
  };
}
