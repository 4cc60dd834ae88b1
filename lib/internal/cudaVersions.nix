{ lib }:

/**
  The CUDA releases of a package set. nixpkgs keeps the names of those that it has dropped, as aliases
  that throw; these are not listed.

  # Type

  ```
  cudaVersions :: Pkgs -> [ String ]
  ```

  # Example

  ```nix
  cudaVersions pkgs
  => [ "12.6" "12.8" "12.9" "13.0" "13.1" "13.2" "13.3" ]
  ```
*/
pkgs:
lib.concatMap (
  name:
  let
    version = builtins.tryEval pkgs.${name}.cudaMajorMinorVersion;
  in
  lib.optional (
    builtins.match "cudaPackages_[0-9]+_[0-9]+" name != null && version.success
  ) version.value
) (lib.attrNames pkgs)
