{
  lib,
  cudaOverlay,
  settings,
  variantOf,
}:

/**
  An overlay that replaces torch for every Python of a package set by a variant, so that whatever depends
  on torch there depends on this one. It takes `mkPytorchVariant`'s arguments, less those that the package
  set gives.

  # Type

  ```
  mkOverlay :: { cpu, gpu, gpuTargets, cpuFlags, cuda, memoryPerJob, compilerCache } -> Overlay
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
  refused = {
    pkgs = "it is the package set that the overlay is applied to";
    python = "every Python of the package set has this torch";
    specialiseClosure = "write config.cudaCapabilities for the package set";
  };
  given = lib.attrNames (builtins.intersectAttrs arguments refused);
in
if given != [ ] then
  throw "mkOverlay takes no ${lib.head given}: ${refused.${lib.head given}}"
else
  {
    pythonPackagesExtensions = base.pythonPackagesExtensions ++ [
      (pythonFinal: pythonPrev: {
        torch = variantOf {
          pkgs = final;
          pythonPackages = pythonFinal;
          inherit (pythonPrev) torch;
        } (settings (removeAttrs arguments [ "cuda" ]));
      })
    ];
  }
  // lib.optionalAttrs (cuda != null) {
    inherit (cudaOverlay cuda final prev) cudaPackages;
  }
