{ lib, surroundings }:

/**
  What a variant says of itself, and what stands around it: its Python, companions and tests, which follow the
  final package.

  # Type

  ```
  passthru :: {
    base :: { pkgs, interpreter, stock },
    named :: naming's result,
    settings :: settings' result,
    cuda :: String,
    pythonPackages :: Null | Scope,
  } -> Derivation -> AttrSet -> AttrSet
  ```
*/
{
  base,
  named,
  settings,
  cuda,
  pythonPackages,
}:
finalPackage: old:
let
  around = surroundings {
    inherit (base) pkgs interpreter;
    inherit pythonPackages;
  } finalPackage;
  inherit (named) cudaSupport targets;
in
old
// around
// {
  inherit (settings) cpuFlags memoryPerJob;
  inherit (base) stock;
  inherit cudaSupport;
  gpu = if cudaSupport then named.gpuName base.pkgs.stdenv.hostPlatform.system else null;
  cpu = named.cpu.name or null;
  cuda = if cudaSupport then cuda else null;
  python = base.interpreter.pythonVersion;
  gpuTargets = targets;
  tests = (old.tests or { }) // around.tests;
}
# torchvision, torchaudio and other CUDA extensions of nixpkgs compile for these.
// lib.optionalAttrs cudaSupport { cudaCapabilities = targets; }
