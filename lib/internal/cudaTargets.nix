{ lib }:

/**
  Whether a CUDA release, as `"12.8"` or `"12.8.93"`, has code for a GPU of the table.

  # Type

  ```
  cudaTargets :: Gpu -> String -> Bool
  ```

  # Example

  ```nix
  cudaTargets hardware.gpus.sm70 "13.0"
  => false
  ```
*/
gpu: cuda:
let
  release = lib.versions.majorMinor cuda;
in
lib.versionAtLeast release gpu.cuda.min
&& !(gpu.cuda ? max && lib.versionOlder gpu.cuda.max release)
