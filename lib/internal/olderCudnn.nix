{ lib }:

let
  # NVIDIA's redistributable of June 2025, the last for GPUs before Turing; nixpkgs of 2026 has later ones alone.
  version = "9.10.2.21";
  archives.x86_64-linux.cuda12 = {
    relative_path = "cudnn/linux-x86_64/cudnn-linux-x86_64-${version}_cuda12-archive.tar.xz";
    sha256 = "d0defcbc4c6dad711ff4cb66d254036a300c9071b07c7b64199aacab534313c1";
    size = "1003149584";
  };
in
/**
  The last cuDNN that supports GPUs before Turing, built as the package set builds its own, or `null` where there is
  none for its CUDA or it builds none.

  # Type

  ```
  olderCudnn :: Pkgs -> Scope -> Null | Derivation
  ```

  # Example

  ```nix
  (olderCudnn pkgs pkgs.cudaPackages_12_9).version
  => "9.10.2.21"
  ```
*/
pkgs: cudaPackages:
let
  variant = "cuda${lib.versions.major cudaPackages.cudaMajorMinorVersion}";
  archive = archives.${pkgs.stdenv.hostPlatform.system}.${variant} or null;
  release = cudaPackages.cudnn.passthru.release or null;
in
if archive == null || release == null then
  null
else
  cudaPackages.cudnn.overrideAttrs (old: {
    passthru = old.passthru // {
      release = release // {
        inherit version;
        linux-x86_64.${variant} = archive;
      };
    };
  })
