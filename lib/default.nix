{ lib }:

# Every function and table of this directory, each in a file of its own that names what it needs.
lib.fix (
  self:
  let
    load =
      file:
      let
        f = import file;
      in
      f (builtins.intersectAttrs (lib.functionArgs f) (self // { inherit lib; }));
  in
  {
    cacheCompiler = load ./cacheCompiler.nix;
    cudaOverlay = load ./cudaOverlay.nix;
    cudaVersions = load ./cudaVersions.nix;
    editDistance = load ./internal/editDistance.nix;
    hardware = load ./hardware.nix;
    limitJobs = load ./limitJobs.nix;
    matchGpu = load ./matchGpu.nix;
    mentions = load ./internal/mentions.nix;
    mkChecks = load ./mkChecks.nix;
    mkOverlay = load ./mkOverlay.nix;
    mkPytorchBin = load ./mkPytorchBin.nix;
    mkPytorchVariant = load ./mkPytorchVariant.nix;
    nearest = load ./nearest.nix;
    nearestCuda = load ./nearestCuda.nix;
    nearestNames = load ./nearestNames.nix;
    nixpkgsConfig = load ./nixpkgsConfig.nix;
    parseCpu = load ./parseCpu.nix;
    parseGpu = load ./parseGpu.nix;
    parseName = load ./parseName.nix;
    problem = load ./problem.nix;
    specialisedClosure = load ./specialisedClosure.nix;
    suggestion = load ./suggestion.nix;
    surroundings = load ./surroundings.nix;
    variants = load ./variants.nix;
    wheelTargets = load ./wheelTargets.nix;
    withCuda = load ./withCuda.nix;
    withTorch = load ./withTorch.nix;
    words = load ./internal/words.nix;
  }
)
