{ lib }:

/**
  The configuration of a nixpkgs for PyTorch variants. Nothing unfree is allowed but CUDA, and the official
  wheels with what they need.

  nixpkgs' own CUDA builds set `cudaSupport` for all that knows it (UCX, OpenMPI, …): a GPU variant over a set
  without it would need others, which no binary cache has.

  # Type

  ```
  nixpkgsConfig :: {
    cudaSupport :: Bool ? true,
    allowUnfreePredicate :: (Derivation -> Bool) ? (_: false),
  } -> { pkgs, ... } -> Config
  ```

  # Inputs

  `allowUnfreePredicate`
  : what else is allowed

  # Example

  ```nix
  import nixpkgs {
    config = nixpkgsConfig { allowUnfreePredicate = package: lib.getName package == "vscode"; };
  }
  ```
*/
{
  cudaSupport ? true,
  allowUnfreePredicate ? _: false,
}:
{ pkgs, ... }:
let
  isCuda =
    pkgs._cuda.lib.allowUnfreeCudaPredicate
      or (throw "this nixpkgs does not say what of it is CUDA: take one of 2025 or later, or config.allowUnfree = true");
in
{
  inherit cudaSupport;
  allowUnfreePredicate =
    package:
    allowUnfreePredicate package
    || isCuda package
    || lib.hasPrefix "pytorch-bin-" (lib.getName package)
    || lib.elem (lib.getName package) [
      "cuda-bindings"
      "triton"
    ];
}
