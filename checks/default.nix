{
  lib,
  pkgs,
  variantsLib,
  variants,
  flagship,
}:

# What `nix flake check` builds beside evaluating every package: the proof for these variants, the tests of lib (which
# evaluating them runs), and the linters of Nix files, which the embedded package set has not.
variantsLib.mkChecks {
  variants = lib.genAttrs [ flagship ] (name: variants.${name});
}
// {
  lib = pkgs.callPackage ./lib.nix { inherit (variantsLib.internal) failures; };
}
// lib.optionalAttrs (pkgs ? statix) { lint = pkgs.callPackage ./lint.nix { }; }
