{ lib, cudaTargets }:

/**
  The CUDA release to build for a GPU: the preferred one if it is there and targets the GPU, else the
  nearest of those that are there. Where none does it is the preferred one, and `problem` says what is wrong with it.

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
  later = lib.filter (version: lib.versionAtLeast version preferred) candidates;
in
if candidates == [ ] then
  preferred
else if later != [ ] then
  lib.head later
else
  lib.last candidates
