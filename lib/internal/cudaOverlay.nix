{ lib, cudaVersions }:

/**
  An overlay that makes another CUDA release the default of a package set.

  # Type

  ```
  cudaOverlay :: String -> Overlay
  ```

  # Example

  ```nix
  (pkgs.extend (cudaOverlay "12.8")).cudaPackages.cudaMajorMinorVersion
  => "12.8"
  ```
*/
version: final: prev:
let
  available = cudaVersions prev;
in
{
  cudaPackages =
    if lib.elem version available then
      final."cudaPackages_${lib.replaceStrings [ "." ] [ "_" ] version}"
    else
      throw "this nixpkgs has no CUDA ${version}: take one of ${lib.concatStringsSep ", " available}";
}
