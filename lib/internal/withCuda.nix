{ cudaOverlay }:

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
if version == pkgs.cudaPackages.cudaMajorMinorVersion then
  pkgs
else
  pkgs.extend (cudaOverlay version)
