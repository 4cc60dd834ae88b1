{ lib, parseGpu }:

/**
  GPUs in any spelling as entries of the table, one of each and in order: an H100 and an H200 are one.

  # Type

  ```
  inOrder :: [ String ] -> [ Gpu ]
  ```

  # Example

  ```nix
  map (gpu: gpu.name) (inOrder [ "H200" "sm80" "9.0" ])
  => [ "sm80" "sm90" ]
  ```
*/
texts:
let
  gpus = map parseGpu texts;
  one = lib.listToAttrs (map (gpu: lib.nameValuePair gpu.target gpu) gpus);
in
lib.sort (a: b: lib.versionOlder a.target b.target) (lib.attrValues one)
