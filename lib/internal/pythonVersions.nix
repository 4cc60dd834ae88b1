{ lib, hasTorch }:

/**
  The Pythons of a package set for which it has a torch.

  # Type

  ```
  pythonVersions :: Pkgs -> [ String ]
  ```

  # Example

  ```nix
  pythonVersions pkgs
  => [ "3.12" "3.13" "3.14" "3.15" ]
  ```
*/
pkgs:
let
  cudaSupport = lib.hasSuffix "-linux" pkgs.stdenv.hostPlatform.system;
in
map (name: pkgs.${name}.pythonVersion) (
  lib.filter (hasTorch cudaSupport pkgs) (lib.attrNames pkgs)
)
