{
  lib,
  base,
  guard,
  naming,
  passthru,
  phases,
}:

/**
  `mkPytorchVariant`, for it and for overlays: nixpkgs' own torch, overridden twice. Each step is a file of this
  directory.

  # Type

  ```
  variantOf :: {
    pkgs :: Pkgs,
    pythonPackages :: Null | Scope ? null,
    torch :: Null | Derivation ? null,
  } -> Settings -> Derivation
  ```

  # Inputs

  `pythonPackages`, `torch`
  : the scope to build in and the torch to override, of an overlay that is about to replace it there
*/
from: settings:
let
  named = naming settings;
  found = base from settings named;
  inherit (found) interpreter pkgs stock;
  inherit (named) cpu cudaSupport gpus;
  inherit (pkgs.stdenv.hostPlatform) system;

  cuda = pkgs.cudaPackages.cudaMajorMinorVersion;
  # A cuDNN that has dropped the GPU would be linked and then fail at its first call.
  cudnn = lib.versions.majorMinor (pkgs.cudaPackages.cudnn.version or "0");
  withoutCudnn = lib.any (g: g.cudnn ? max && lib.versionOlder g.cudnn.max cudnn) gpus;

  pname = named.pname {
    inherit system cuda;
    python = interpreter.pythonVersion;
  };
  targeted = stock.override (
    { inherit cudaSupport; } // lib.optionalAttrs cudaSupport { gpuTargets = named.targets; }
  );
  origins = {
    source = "compiled from source";
    wheel = "the official wheel; CPU flags not applied, it dispatches at run time";
  };
  added = phases {
    inherit pkgs;
    inherit (settings) compilerCache cpuFlags memoryPerJob;
    leftOut = (cpu.without or [ ]) ++ lib.optional withoutCudnn "CUDNN";
    banner = lib.concatStringsSep "\n" [
      pname
      "  PyTorch       ${stock.version}, Python ${interpreter.pythonVersion}"
      "  GPU target    ${
        if cudaSupport then
          "${lib.concatStringsSep ";" named.targets}  ${named.gpuText}"
        else
          named.gpuName system
      }"
      "  CPU features  ${if cpu == null then "the platform's" else cpu.title}  ${toString settings.cpuFlags}"
      "  CUDA          ${if cudaSupport then cuda else "disabled"}"
      "  Origin        ${origins.${targeted.origin or "source"}}"
    ];
  };
in
guard
  {
    inherit
      cpu
      cuda
      gpus
      pname
      stock
      ;
    inherit (from) pkgs;
  }
  (
    targeted.overrideAttrs (
      final: old: {
        inherit pname;
        preConfigure = (old.preConfigure or "") + added.preConfigure;
        preBuild = (old.preBuild or "") + added.preBuild;
        passthru = passthru {
          inherit cuda named settings;
          base = found;
          pythonPackages = from.pythonPackages or null;
        } final.finalPackage (old.passthru or { });
        meta = old.meta // {
          description = named.description { inherit system cuda; };
          platforms = lib.foldl' lib.intersectLists (cpu.platforms or [ system ]) (
            map (g: g.platforms) gpus
          );
        };
      }
    )
  )
