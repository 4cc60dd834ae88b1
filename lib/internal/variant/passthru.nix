{ lib }:

/**
  What a variant says of itself. What stands around it, its Python, companions and tests, is `surroundings`.

  # Type

  ```
  passthru :: {
    cpuFlags :: [ String ],
    cuda :: String,
    libraries :: linked's result,
    named :: naming's result,
    python :: String,
    settings :: settings' result,
    stock :: Derivation,
    system :: String,
    variantName :: String,
    wheel :: Bool,
  } -> AttrSet
  ```
*/
{
  cpuFlags,
  cuda,
  libraries,
  named,
  python,
  settings,
  stock,
  system,
  variantName,
  wheel,
}:
let
  inherit (named) cudaSupport targets;
in
{
  inherit
    cpuFlags
    cudaSupport
    python
    stock
    variantName
    ;
  inherit (settings) memoryPerJob;
  # What is compiled beside torch for its GPUs, and what of PyTorch is missing for them.
  inherit (libraries) rebuilt leftOut;
  gpu = if cudaSupport then named.gpuName system else null;
  cpu = if wheel then null else named.cpu.name or null;
  cuda = if cudaSupport then cuda else null;
  gpuTargets = targets;
}
# torchvision, torchaudio and other CUDA extensions of nixpkgs compile for these.
// lib.optionalAttrs cudaSupport { cudaCapabilities = targets; }
