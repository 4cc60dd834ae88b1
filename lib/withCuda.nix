{ lib }:

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
  attribute = "cudaPackages_${lib.replaceStrings [ "." ] [ "_" ] version}";
  available = lib.filter (name: builtins.match "cudaPackages_[0-9]+_[0-9]+" name != null) (lib.attrNames pkgs);
in
if version == pkgs.cudaPackages.cudaMajorMinorVersion then
  pkgs
else if !lib.elem attribute available then
  throw "this nixpkgs has no CUDA ${version}: take one of ${
    lib.concatMapStringsSep ", " (
      name: lib.replaceStrings [ "cudaPackages_" "_" ] [ "" "." ] name
    ) available
  }"
else
  pkgs.extend (final: _: { cudaPackages = final.${attribute}; })
