{ settings, variantOf }:

/**
  PyTorch built for given GPUs and one CPU instruction set: nixpkgs' own `torch`, overridden twice.

  The first override hands nixpkgs the GPU targets and leaves its recipe to do the rest. Only torch
  itself differs from the stock CUDA build, so a binary cache still serves everything else. The second
  adds what nixpkgs has no argument for: the CPU flags, the variant's name and what it is for.

  # Type

  ```
  mkPytorchVariant :: {
    pkgs :: Pkgs,
    cpu :: String,
    gpu :: Null | String ? null,
    gpuTargets :: [ String ] ? [ gpu ],
    cpuFlags :: [ String ] ? the flags of lib/hardware.toml,
    python :: Null | String ? null,
    cuda :: Null | String ? null,
    memoryPerJob :: Int ? 6,
    compilerCache :: Null | String ? null,
    specialiseClosure :: Bool ? false,
  } -> Derivation
  ```

  # Inputs

  `pkgs`
  : any package set with nixpkgs' interface; for a GPU one with `config.cudaSupport`, or binary caches lack
    some of what PyTorch depends on. If its torch is a variant, the one that this was made of counts

  `cpu`
  : an instruction set in any spelling; `null` on a Mac, where there is but one kind

  `gpu`
  : a GPU in any spelling, or `null` for a build without CUDA

  `gpuTargets`
  : several GPUs in any spelling, for a multi-architecture build

  `python`, `cuda`
  : versions, as in `"3.12"` and `"12.8"`; `null` for the package set's own

  `memoryPerJob`
  : GiB of memory that one compiler job may need; it bounds the number of jobs. What the default is made
    of: docs/builders.md

  `compilerCache`
  : a directory of the builder for ccache, so that a variant takes from it what another has compiled:
    impure, see docs/builders.md for what has to be set up and who has to be trusted

  `specialiseClosure`
  : build PyTorch's CUDA dependencies for these GPUs too, which leaves the binary cache

  # Example

  ```nix
  mkPytorchVariant { inherit pkgs; gpu = "H100"; cpu = "avx512"; }
  => «derivation pytorch-python313-cuda12_9-sm90-avx512»
  mkPytorchVariant { inherit pkgs; gpuTargets = [ "sm80" "sm86" "9.0" ]; cpu = "avx2"; cuda = "12.8"; }
  => «derivation pytorch-python313-cuda12_8-sm80-sm86-sm90-avx2»
  ```
*/
{ pkgs, ... }@arguments:
variantOf { inherit pkgs; } (settings (removeAttrs arguments [ "pkgs" ]))
