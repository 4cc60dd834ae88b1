{ lib }:

# What this flake offers as `lib`, a file for each. `internal` is for this repository alone, and may change at any time.
let
  hardware = import ./hardware.nix { inherit lib; };
  cudaTargets = import ./internal/cudaTargets.nix { inherit lib; };
  runsOn = import ./runsOn.nix { inherit lib hardware; };

  # Names
  words = import ./internal/words.nix { inherit lib; };
  mentions = import ./internal/mentions.nix { inherit lib words; };
  editDistance = import ./internal/editDistance.nix { inherit lib; };
  nearest = import ./internal/nearest.nix { inherit lib editDistance mentions; };
  matchGpu = import ./internal/matchGpu.nix {
    inherit
      lib
      hardware
      mentions
      words
      ;
  };
  otherMaker = import ./internal/otherMaker.nix { inherit lib hardware words; };
  parseGpu = import ./parseGpu.nix {
    inherit
      lib
      hardware
      matchGpu
      nearest
      otherMaker
      ;
  };
  parseCpu = import ./parseCpu.nix { inherit lib hardware nearest; };
  inOrder = import ./internal/inOrder.nix { inherit lib parseGpu; };
  variants = import ./variants.nix { inherit lib hardware; };
  nearestNames = import ./internal/nearestNames.nix {
    inherit
      lib
      hardware
      matchGpu
      nearest
      parseCpu
      variants
      ;
  };
  parseName = import ./parseName.nix {
    inherit
      lib
      hardware
      nearestNames
      otherMaker
      parseCpu
      parseGpu
      ;
  };

  # Package sets
  cudaVersions = import ./internal/cudaVersions.nix { inherit lib; };
  cudaOverlay = import ./internal/cudaOverlay.nix { inherit lib cudaVersions; };
  hasTorch = import ./internal/hasTorch.nix;
  pythonVersions = import ./internal/pythonVersions.nix { inherit lib hasTorch; };
  withCuda = import ./internal/withCuda.nix { inherit cudaOverlay; };
  nearestCuda = import ./internal/nearestCuda.nix { inherit lib cudaTargets; };
  specialisedClosure = import ./internal/specialisedClosure.nix;
  nixpkgsConfig = import ./nixpkgsConfig.nix { inherit lib; };

  # What can be built
  problem = import ./internal/problem.nix { inherit lib cudaTargets; };
  suggestion = import ./internal/suggestion.nix {
    inherit
      lib
      hardware
      nearest
      nearestCuda
      parseGpu
      problem
      runsOn
      ;
  };
  wheelCuda = import ./internal/wheelCuda.nix { inherit lib; };
  wheelTargets = import ./internal/wheelTargets.nix { inherit lib hardware; };
  nixpkgsRefusal = import ./internal/nixpkgsRefusal.nix { inherit lib; };

  # Packages
  maintainers = import ../pkgs/maintainers.nix;
  identifiers = import ./internal/identifiers.nix { inherit lib; };
  withTorch = import ./internal/withTorch.nix { inherit lib; };
  surroundings = import ./internal/surroundings.nix { inherit lib withTorch; };
  builderHook = import ./internal/builderHook.nix { inherit lib; };
  ccacheHook = import ./internal/ccacheHook.nix;
  maxJobsHook = import ./internal/maxJobsHook.nix;
  settings = import ./internal/variant/settings.nix { inherit lib parseCpu; };
  variantOf = import ./internal/variant {
    inherit
      identifiers
      lib
      maintainers
      surroundings
      ;
    base = import ./internal/variant/base.nix {
      inherit
        lib
        hasTorch
        specialisedClosure
        withCuda
        ;
    };
    guard = import ./internal/variant/guard.nix {
      inherit
        lib
        cudaVersions
        nixpkgsRefusal
        problem
        suggestion
        ;
    };
    linked = import ./internal/variant/linked.nix {
      inherit lib runsOn;
      olderCudnn = import ./internal/olderCudnn.nix { inherit lib; };
    };
    naming = import ./internal/variant/naming.nix { inherit lib inOrder parseCpu; };
    overridable = import ./internal/variant/overridable.nix { inherit lib; };
    passthru = import ./internal/variant/passthru.nix { inherit lib; };
    phases = import ./internal/variant/phases.nix {
      inherit
        lib
        builderHook
        ccacheHook
        maxJobsHook
        ;
    };
  };

  mkOverlay = import ./mkOverlay.nix {
    inherit
      lib
      cudaOverlay
      settings
      variantOf
      ;
  };
  ofName = import ./ofName.nix {
    inherit
      lib
      mkOverlay
      nixpkgsConfig
      parseName
      ;
  };

  failures = import ./tests.nix {
    inherit
      lib
      cudaTargets
      editDistance
      hardware
      mentions
      nearest
      nearestCuda
      nearestNames
      parseCpu
      parseGpu
      parseName
      problem
      runsOn
      suggestion
      variants
      words
      ;
  };
in
{
  caches = import ./caches.nix;
  inherit
    hardware
    mkOverlay
    nixpkgsConfig
    ofName
    parseCpu
    parseGpu
    parseName
    runsOn
    variants
    ;
  mkChecks = import ./mkChecks.nix { inherit lib; };
  mkPytorchBin = import ./mkPytorchBin.nix {
    inherit
      lib
      cudaVersions
      identifiers
      inOrder
      maintainers
      runsOn
      surroundings
      wheelCuda
      wheelTargets
      withCuda
      ;
  };
  mkPytorchVariant = import ./mkPytorchVariant.nix { inherit settings variantOf; };

  internal = {
    inherit
      builderHook
      ccacheHook
      cudaTargets
      cudaVersions
      failures
      maxJobsHook
      nearest
      nearestCuda
      nearestNames
      nixpkgsRefusal
      otherMaker
      problem
      pythonVersions
      suggestion
      wheelCuda
      wheelTargets
      withCuda
      ;
  };
}
