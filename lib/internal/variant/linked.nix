{
  lib,
  olderCudnn,
  runsOn,
}:

let
  # From 2.30 on its kernels use instructions of this compute capability, and do not compile for an earlier one:
  # https://github.com/NixOS/nixpkgs/issues/549002
  ncclMinimum = "7.0";
  bare = target: lib.head (builtins.match "([0-9.]+).*" target);
in
/**
  What torch links from a package set whose libraries have no code for its GPUs. nixpkgs compiles NCCL, MAGMA and
  NVSHMEM for the capabilities that its CUDA release has by default, and torch links all three statically. Without the
  GPU's code among them NVSHMEM breaks the link, and the others end in "no kernel image" when they run.

  Then NCCL and MAGMA are compiled for the GPUs, where they can be, and NVSHMEM, which joins servers' GPUs, is left out.
  A cuDNN that has dropped a GPU gives way to the last one that had not.

  # Type

  ```
  linked :: { pkgs :: Pkgs, cudaPackages :: Scope, gpus :: [ Gpu ] } -> {
    arguments :: AttrSet,
    rebuilt :: [ String ],
    leftOut :: [ String ],
  }
  ```

  # Example

  ```nix
  (linked { inherit pkgs; inherit (pkgs) cudaPackages; gpus = [ (parseGpu "sm61") ]; })
  => { rebuilt = [ "cudnn" "magma" ]; leftOut = [ "NCCL" "NVSHMEM" ]; arguments = { … }; }
  ```
*/
{
  pkgs,
  cudaPackages,
  gpus,
}:
let
  # A set that compiles nothing has no such capabilities.
  capabilities = cudaPackages.flags.cudaCapabilities or [ ];
  runs =
    gpu: capability:
    let
      parts = builtins.match "([0-9.]+)([af]?)" capability;
    in
    runsOn {
      kind = "cubin";
      capability = lib.head parts;
      suffix = lib.last parts;
    } gpu.capability;
  lacking = lib.filter (gpu: capabilities != [ ] && !lib.any (runs gpu) capabilities) gpus;
  lacks = lacking != [ ];

  targets = map (gpu: bare gpu.target) gpus;
  jetsons = lib.filter (target: pkgs._cuda.db.cudaCapabilityToInfo.${target}.isJetson) targets;
  # What nixpkgs' own conditions on a library ask, with the same compiler.
  backendStdenv = cudaPackages.backendStdenv // {
    cudaCapabilities = targets;
    requestedJetsonCudaCapabilities = jetsons;
    hasJetsonCudaCapability = jetsons != [ ];
  };
  flags =
    cudaPackages.flags
    // pkgs._cuda.lib.formatCapabilities {
      inherit (pkgs._cuda.db) cudaCapabilityToInfo;
      cudaCapabilities = targets;
      cudaForwardCompat = false;
    };
  nccl = cudaPackages.nccl.override { inherit backendStdenv flags; };
  compilesNccl =
    lib.all (target: lib.versionAtLeast target ncclMinimum) targets && nccl.meta.available;
  magma = pkgs.magma-cuda-static.override {
    cudaPackages = cudaPackages // {
      inherit flags;
    };
  };

  cudnnVersion = lib.versions.majorMinor (cudaPackages.cudnn.version or "0");
  dropped = lib.any (g: g.cudnn ? max && lib.versionOlder g.cudnn.max cudnnVersion) gpus;
  cudnn = olderCudnn pkgs cudaPackages;
in
{
  arguments =
    lib.optionalAttrs (lacks || dropped && cudnn != null) {
      cudaPackages =
        cudaPackages
        // lib.optionalAttrs (lacks && compilesNccl) { inherit nccl; }
        // lib.optionalAttrs (dropped && cudnn != null) { inherit cudnn; };
    }
    // lib.optionalAttrs lacks {
      magma-cuda-static = magma;
      useSystemNccl = compilesNccl;
      withNvshmem = false;
    };
  rebuilt =
    lib.optional (dropped && cudnn != null) "cudnn"
    ++ lib.optional lacks "magma"
    ++ lib.optional (lacks && compilesNccl) "nccl";
  leftOut =
    lib.optional (dropped && cudnn == null) "CUDNN"
    ++ lib.optional (lacks && !compilesNccl) "NCCL"
    ++ lib.optional lacks "NVSHMEM";
}
