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
  problem = import ./problem.nix { inherit lib; };
  mkPytorchVariant = import ./mkPytorchVariant.nix {
    inherit
      lib
      parseCpu
      parseGpu
      problem
      ;
  };
in
{
  inherit
    hardware
    mkPytorchVariant
    nearest
    parseCpu
    parseGpu
    parseName
    problem
    ;
}
