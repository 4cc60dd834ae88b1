{ lib }:

let
  hardware = import ./hardware.nix { inherit lib; };
  nearest = import ./nearest.nix { inherit lib; };
  parseGpu = import ./parseGpu.nix { inherit lib hardware nearest; };
  parseCpu = import ./parseCpu.nix { inherit lib hardware nearest; };
  parseName = import ./parseName.nix {
    inherit
      lib
      hardware
      nearest
      parseCpu
      parseGpu
      ;
  };
  nearestCuda = import ./nearestCuda.nix { inherit lib; };
  withCuda = import ./withCuda.nix { inherit lib; };
  problem = import ./problem.nix { inherit lib; };
  mkPytorchVariant = import ./mkPytorchVariant.nix {
    inherit
      lib
      parseCpu
      parseGpu
      problem
      withCuda
      ;
  };
in
{
  inherit
    hardware
    mkPytorchVariant
    nearest
    nearestCuda
    parseCpu
    parseGpu
    parseName
    problem
    withCuda
    ;
}
