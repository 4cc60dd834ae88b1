{
  lib,
  parseCpu,
  parseGpu,
  problem,
  withCuda,
}:

/**
  PyTorch built for given GPUs and one CPU instruction set: nixpkgs' own `torch`, overridden twice.

  The first override hands nixpkgs the GPU targets and leaves its recipe to do the rest. Only torch
  itself differs from the stock CUDA build, so a binary cache still serves everything else. The second
  adds what nixpkgs has no argument for: the CPU flags, the variant's name and what it is for.

  `pkgs` is any package set with nixpkgs' interface. `python` and `cuda` default to that set's own.

  # Type

  ```
  mkPytorchVariant :: {
    pkgs :: Pkgs,
    cpu :: String,
    gpu :: Null | String ? null,
    gpuTargets :: [ String ] ? [ gpu ],
    cpuFlags :: [ String ] ? the flags of lib/hardware.toml,
    python :: Null | String ? null,
    cuda :: Null | String ? null,
    memoryPerJob :: Int ? 4,
  } -> Derivation
  ```

  # Inputs

  `gpu`
  : a GPU in any spelling, or `null` for a CPU build

  `gpuTargets`
  : several GPUs in any spelling, for a multi-architecture build

  `memoryPerJob`
  : GiB of memory that one compiler job may need; it bounds the number of jobs

  # Example

  ```nix
  mkPytorchVariant { inherit pkgs; gpu = "H100"; cpu = "avx512"; }
  => «derivation pytorch-python313-cuda12_9-sm90-avx512»
  mkPytorchVariant { inherit pkgs; gpuTargets = [ "sm80" "sm86" "9.0" ]; cpu = "avx2"; cuda = "12.8"; }
  => «derivation pytorch-python313-cuda12_8-sm80-sm86-sm90-avx2»
  ```
*/
{
  pkgs,
  cpu,
  gpu ? null,
  gpuTargets ? lib.optional (gpu != null) gpu,
  cpuFlags ? (parseCpu cpu).flags ++ (parseCpu cpu).disable,
  python ? null,
  cuda ? null,
  memoryPerJob ? 4,
}:
let
  inherit (lib) concatMapStringsSep concatStringsSep optionalString;

  gpus = map parseGpu gpuTargets;
  targets = map (g: g.target) gpus;
  cpuInfo = parseCpu cpu;
  cudaSupport = gpus != [ ];

  undotted = lib.replaceStrings [ "." ] [ "" ];
  underscored = lib.replaceStrings [ "." ] [ "_" ];

  pkgs' = if cuda == null then pkgs else withCuda pkgs cuda;

  pythonAttr = if python == null then "python3" else "python${undotted python}";
  interpreter =
    pkgs'.${pythonAttr} or (throw "this nixpkgs has no Python ${python}: take one of ${
      concatStringsSep ", " (
        lib.filter (name: builtins.match "python3[0-9]+" name != null) (lib.attrNames pkgs)
      )
    }");
  pythonPackages = interpreter.pkgs;

  stock =
    pythonPackages.torch or pythonPackages.pytorch
      or (throw "this nixpkgs has no torch in ${pythonAttr}Packages: take a later nixpkgs");
  takesTargets = lib.functionArgs stock.override ? gpuTargets;

  cudaVersion = pkgs'.cudaPackages.cudaMajorMinorVersion;
  cudnnVersion = pkgs'.cudaPackages.cudnn.version or "0";
  # A cuDNN that has dropped the GPU would be linked and then fail at its first call.
  withoutCudnn = lib.any (
    g: g.cudnn ? max && lib.versionOlder g.cudnn.max (lib.versions.majorMinor cudnnVersion)
  ) gpus;

  gpuName = if cudaSupport then concatMapStringsSep "-" (g: g.name) gpus else "cpu";
  pname = concatStringsSep "-" (
    [
      "pytorch"
      "python${undotted interpreter.pythonVersion}"
    ]
    ++ lib.optional cudaSupport "cuda${underscored cudaVersion}"
    ++ [
      gpuName
      cpuInfo.name
    ]
  );

  found = problem {
    inherit gpus;
    cpu = cpuInfo;
    inherit (pkgs'.stdenv.hostPlatform) system;
    cuda = cudaVersion;
    pytorch = stock.version;
    wheelTargets = stock.wheelTargets or null;
  };

  gpuText = concatMapStringsSep ", " (
    g: "${g.architecture} ${g.name} (${concatStringsSep ", " (lib.take 4 g.products)})"
  ) gpus;

  targeted = stock.override (
    { inherit cudaSupport; } // lib.optionalAttrs cudaSupport { gpuTargets = targets; }
  );

  variant = targeted.overrideAttrs (old: {
    inherit pname;

    preConfigure = (old.preConfigure or "") + ''
      export CFLAGS="''${CFLAGS:-} ${toString cpuFlags}"
      export CXXFLAGS="''${CXXFLAGS:-} ${toString cpuFlags}"
      cat <<'BANNER'
      ==================================================================
      ${pname}
        PyTorch       ${stock.version}, Python ${interpreter.pythonVersion}
        GPU target    ${if cudaSupport then "${concatStringsSep ";" targets}  ${gpuText}" else "none"}
        CPU features  ${cpuInfo.title}  ${toString cpuFlags}
        CUDA          ${if cudaSupport then cudaVersion else "disabled"}
        Origin        ${targeted.origin or "compiled from source"}
      ==================================================================
      BANNER
    '';

    # nixpkgs has set MAX_JOBS to all cores by now. A machine that runs out of memory loses the whole build.
    preBuild = (old.preBuild or "") + ''
      [ ! -r /proc/meminfo ] || memory_jobs=$(awk '/^MemAvailable:/ { jobs = int($2 / 1048576 / ${toString memoryPerJob}); print (jobs < 1 ? 1 : jobs) }' /proc/meminfo)
      if [ "''${memory_jobs:-$NIX_BUILD_CORES}" -lt "''${MAX_JOBS:-$NIX_BUILD_CORES}" ]; then
        echo "memory for $memory_jobs jobs of ${toString memoryPerJob} GiB: MAX_JOBS=$memory_jobs"
        export MAX_JOBS=$memory_jobs
      fi
    '';

    env =
      (old.env or { })
      // lib.genAttrs (map (component: "USE_${component}") cpuInfo.without) (_: "0")
      // lib.optionalAttrs withoutCudnn { USE_CUDNN = "0"; };

    passthru = (old.passthru or { }) // {
      inherit cpuFlags cudaSupport;
      gpu = if cudaSupport then gpuName else null;
      cpu = cpuInfo.name;
      cuda = if cudaSupport then cudaVersion else null;
      python = interpreter.pythonVersion;
      gpuTargets = targets;
      environment = interpreter.withPackages (_: [ variant ]);
      tests = (old.passthru.tests or { }) // {
        verify = pkgs'.callPackage ../checks/verify.nix {
          inherit variant;
          inherit (pythonPackages) pytorch-variants;
          python = interpreter;
        };
      };
    };

    meta = old.meta // {
      description =
        "PyTorch for "
        + optionalString cudaSupport "NVIDIA ${gpuText} with CUDA ${cudaVersion} and "
        + "CPUs with ${cpuInfo.title} (${lib.head cpuInfo.first} and later)";
      platforms = lib.foldl' lib.intersectLists cpuInfo.platforms (map (g: g.platforms) gpus);
    };
  });
in
if !takesTargets then
  throw "torch ${stock.version} of this nixpkgs takes no gpuTargets: take a nixpkgs of 23.11 or later"
else if found != null then
  throw "${pname}: ${found}"
else
  variant
