{
  lib,
  mkPytorchVariant,
}:

/**
  An overlay that replaces torch for every Python of a package set by a variant, so that whatever depends
  on torch there depends on this one. It takes `mkPytorchVariant`'s arguments, less those that the package
  set gives.

  # Type

  ```
  mkOverlay :: { cpu, gpu, gpuTargets, cpuFlags, cuda, memoryPerJob } -> Overlay
  ```

  # Example

  ```nix
  import nixpkgs { overlays = [ (mkOverlay { gpu = "H100"; cpu = "avx512"; }) ]; }
  ```
*/
arguments: final: prev:
let
  base = import ../pkgs/overlay.nix final prev;
  cuda = arguments.cuda or null;
in
{
  pythonPackagesExtensions = base.pythonPackagesExtensions ++ [
    (pythonFinal: pythonPrev: {
      torch = mkPytorchVariant (
        removeAttrs arguments [
          "cuda"
          "python"
        ]
        // {
          pkgs = final;
          pythonPackages = pythonFinal;
          inherit (pythonPrev) torch;
        }
      );
    })
  ];
}
// lib.optionalAttrs (cuda != null) {
  cudaPackages = final."cudaPackages_${lib.replaceStrings [ "." ] [ "_" ] cuda}";
}
