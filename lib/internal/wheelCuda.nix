{ lib }:

/**
  The CUDA release that the official wheel of a Python's scope was built with, as its file's name says it; `null`
  where that has none.

  # Type

  ```
  wheelCuda :: Scope -> Null | String
  ```

  # Example

  ```nix
  wheelCuda pkgs.python3Packages    # torch-2.12.0+cu130-cp313-cp313-linux_x86_64.whl
  => "13.0"
  ```
*/
scope:
let
  digits = builtins.match ".*\\+cu([0-9]+)([0-9])-.*" scope.torch-bin.src.name;
in
if digits == null then null else lib.concatStringsSep "." digits
