{ lib, cudaVersions }:

/**
  A package set whose default CUDA is another release. The whole set moves: a torch whose magma is built
  with another CUDA is broken.

  # Type

  ```
  withCuda :: Pkgs -> String -> Pkgs
  ```

  # Example

  ```nix
  (withCuda pkgs "12.8").cudaPackages.cudaMajorMinorVersion
  => "12.8"
  ```
*/
pkgs: version:
let
  available = cudaVersions pkgs;
  attribute = "cudaPackages_${lib.replaceStrings [ "." ] [ "_" ] version}";
in
if version == pkgs.cudaPackages.cudaMajorMinorVersion then
  pkgs
else if !lib.elem version available then
  throw "this nixpkgs has no CUDA ${version}: take one of ${lib.concatStringsSep ", " available}"
else
  pkgs.extend (final: _: { cudaPackages = final.${attribute}; })
