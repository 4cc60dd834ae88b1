{ lib }:

/**
  Why a nixpkgs gives no CUDA release for a GPU, by its own tables, or `null` where it does or says nothing. NVIDIA
  has two releases of CUDA for Arm: servers', and below CUDA 13 another for Orin. A package set has one of them.

  # Type

  ```
  nixpkgsRefusal :: Pkgs -> Gpu -> String -> Null | String
  ```

  # Example

  ```nix
  nixpkgsRefusal pkgs hardware.gpus.sm87 "12.9"
  => "CUDA 12.9 for sm87 is NVIDIA's linux-aarch64 release, and this package set takes linux-sbsa"
  nixpkgsRefusal pkgs hardware.gpus.sm87 "13.0"
  => null
  ```
*/
pkgs: gpu: cuda:
let
  known = pkgs._cuda.db.cudaCapabilityToInfo.${gpu.capability} or null;
  platformOf =
    cudaCapabilities:
    pkgs._cuda.lib.getRedistSystem {
      inherit cudaCapabilities;
      inherit (pkgs.stdenv.hostPlatform) system;
      cudaMajorMinorVersion = cuda;
    };
  needs = platformOf [ gpu.capability ];
  # With none named nixpkgs takes capabilities of no Jetson.
  has = platformOf (pkgs.config.cudaCapabilities or [ ]);
  tooOld = known.maxCudaMajorMinorVersion != null && lib.versionOlder known.maxCudaMajorMinorVersion cuda;
in
if known == null || !pkgs._cuda.lib ? getRedistSystem then
  null
else if tooOld || lib.versionOlder cuda known.minCudaMajorMinorVersion then
  "this nixpkgs has no CUDA ${cuda} for ${gpu.name}: ${known.minCudaMajorMinorVersion} ${
    if known.maxCudaMajorMinorVersion == null then
      "and later are for it"
    else
      "to ${known.maxCudaMajorMinorVersion} are for it"
  }"
else if needs != has then
  "CUDA ${cuda} for ${gpu.name} is NVIDIA's ${needs} release, and this package set takes ${has}"
else
  null
