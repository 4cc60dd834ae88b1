/**
  A package set whose every CUDA library is built for some targets, not PyTorch alone. What is built so is
  in no binary cache: on the nixpkgs of July 2026 that is seven derivations instead of one (torch,
  magma, nccl, nvshmem, gdrcopy, ucc and openmpi).

  # Type

  ```
  specialisedClosure :: Pkgs -> [ String ] -> Pkgs
  ```

  # Example

  ```nix
  (specialisedClosure pkgs [ "9.0" ]).config.cudaCapabilities
  => [ "9.0" ]
  ```
*/
pkgs: targets:
import
  (pkgs.path
    or (throw "specialiseClosure needs a nixpkgs that compiles, and this package set does not: leave it out")
  )
  {
    inherit (pkgs.stdenv.hostPlatform) system;
    inherit (pkgs) overlays;
    config = pkgs.config // {
      cudaCapabilities = targets;
    };
  }
