{ lib }:

/**
  The configuration of a nixpkgs for PyTorch variants. Nothing unfree is allowed but CUDA, and the official
  wheels with what they need.

  nixpkgs' own CUDA builds set `cudaSupport` for all that knows it (UCX, OpenMPI, …): a GPU variant over a set
  without it would need others, which no binary cache has.

  # Type

  ```
  nixpkgsConfig :: { cudaSupport :: Bool ? true } -> { pkgs, ... } -> Config
  ```

  # Example

  ```nix
  import nixpkgs { config = nixpkgsConfig { }; }
  ```
*/
{
  cudaSupport ? true,
}:
{ pkgs, ... }:
{
  inherit cudaSupport;
  allowUnfreePredicate =
    package:
    pkgs._cuda.lib.allowUnfreeCudaPredicate package
    || lib.hasPrefix "pytorch-bin-" (lib.getName package)
    || lib.elem (lib.getName package) [
      "cuda-bindings"
      "triton"
    ];
}
