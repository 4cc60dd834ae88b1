{ lib, cudaTargets }:

/**
  The CUDA release to build for a GPU: the preferred one if it targets the GPU, else the nearest of those
  that are there. Where none does it is the preferred one, and `problem` says what is wrong with it.

  # Type

  ```
  nearestCuda :: Gpu -> String -> [ String ] -> String
  ```

  # Example

  ```nix
  nearestCuda hardware.gpus.sm110 "12.9" [ "12.8" "12.9" "13.0" "13.1" ]
  => "13.0"
  nearestCuda hardware.gpus.sm70 "13.1" [ "12.8" "12.9" "13.0" "13.1" ]
  => "12.9"
  ```
*/
gpu: preferred: available:
let
  targets = cudaTargets gpu;
  candidates = lib.sort lib.versionOlder (lib.filter targets available);
in
if targets preferred || candidates == [ ] then
  preferred
else if lib.versionOlder preferred gpu.cuda.min then
  lib.head candidates
else
  lib.last candidates
