{
  lib,
  variantsLib,
  variants,
  flagship,
}:

# What `nix flake check` builds beside evaluating every package: the proof for these variants.
variantsLib.mkChecks {
  variants = lib.genAttrs [ flagship ] (name: variants.${name});
}
