{
  lib,
  cudaVersions,
  nixpkgsRefusal,
  problem,
  suggestion,
}:

/**
  The variant itself, if the package set can build it, with a warning where no binary cache has what it needs.
  Otherwise an error that says why and what to write instead.

  # Type

  ```
  guard :: {
    pname :: String,
    pkgs :: Pkgs,
    stock :: Derivation,
    gpus :: [ Gpu ],
    cpu :: Null | Cpu,
    cuda :: String,
    intact :: Bool,
  } -> Derivation -> Derivation
  ```

  # Inputs

  `pkgs`
  : the package set that the caller gave, whose CUDA releases are suggested

  `intact`
  : that the phases still have the variant's flags, whatever was overridden
*/
{
  pname,
  pkgs,
  stock,
  gpus,
  cpu,
  cuda,
  intact,
}:
variant:
let
  context = {
    inherit cpu cuda gpus;
    inherit (pkgs.stdenv.hostPlatform) system;
    pytorch = stock.version;
    wheelTargets = stock.wheelTargets or null;
    refusal = nixpkgsRefusal pkgs;
  };
  found = problem context;
  instead = suggestion (context // { cudas = cudaVersions pkgs; });
  cudaSupport = gpus != [ ];
  config = pkgs.config or { };
  offCache = "${pname}: no binary cache has all that it needs from this package set";
in
if !lib.functionArgs stock.override ? gpuTargets then
  throw "torch ${stock.version} of this nixpkgs takes no gpuTargets: take a nixpkgs of 2023 or later"
else if found != null then
  throw "${pname}: ${found}${lib.optionalString (instead != "") "; ${instead}"}"
else if !intact then
  throw "${pname}: preConfigure has lost the variant's flags: append to the old one, or give the package a pname of its own"
else
  lib.warnIf (cudaSupport && !(config.cudaSupport or true))
    "${offCache}: import nixpkgs with config.cudaSupport = true, as its CUDA builds do"
    (
      lib.warnIf (
        cudaSupport && config.cudaCapabilities or [ ] != [ ]
      ) "${offCache}: leave config.cudaCapabilities out, PyTorch's GPUs are gpuTargets" variant
    )
