{
  nixpkgs,
  system,
  variantsLib,
}:

# What ./. gives over a tree of nixpkgs, imported without CUDA and with it.
let
  packageSet =
    cudaSupport:
    import nixpkgs {
      inherit system;
      config = variantsLib.nixpkgsConfig { inherit cudaSupport; };
      overlays = [ (import ./overlay.nix) ];
    };
in
import ./. {
  inherit variantsLib;
  pkgs = packageSet false;
  cudaPkgs = packageSet true;
}
