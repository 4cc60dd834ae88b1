{
  lib,
  cacheCompiler,
  cudaVersions,
  limitJobs,
  parseCpu,
  parseGpu,
  problem,
  specialisedClosure,
  suggestion,
  surroundings,
  withCuda,
}:

/**
  PyTorch built for given GPUs and one CPU instruction set: nixpkgs' own `torch`, overridden twice.

  The first override hands nixpkgs the GPU targets and leaves its recipe to do the rest. Only torch
  itself differs from the stock CUDA build, so a binary cache still serves everything else. The second
  adds what nixpkgs has no argument for: the CPU flags, the variant's name and what it is for.

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
    memoryPerJob :: Int ? 6,
    compilerCache :: Null | String ? null,
    specialiseClosure :: Bool ? false,
  } -> Derivation
  ```

  # Inputs

  `pkgs`
  : any package set with nixpkgs' interface; for a GPU one with `config.cudaSupport`, or binary caches lack
    some of what PyTorch depends on. If its torch is a variant, the one that this was made of counts

  `cpu`
  : an instruction set in any spelling; `null` on a Mac, where there is but one kind

  `gpu`
  : a GPU in any spelling, or `null` for a build without CUDA

  `gpuTargets`
  : several GPUs in any spelling, for a multi-architecture build

  `python`, `cuda`
  : versions, as in `"3.12"` and `"12.8"`; `null` for the package set's own

  `memoryPerJob`
  : GiB of memory that one compiler job may need; it bounds the number of jobs. What the default is made
    of: docs/builders.md

  `compilerCache`
  : a directory of the builder for ccache, so that a variant takes from it what another has compiled:
    impure, see docs/builders.md for what has to be set up and who has to be trusted

  `specialiseClosure`
  : build PyTorch's CUDA dependencies for these GPUs too, which leaves the binary cache

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
  cpu ? null,
  gpu ? null,
  gpuTargets ? lib.optional (gpu != null) gpu,
  cpuFlags ? if cpu == null then [ ] else (parseCpu cpu).flags ++ (parseCpu cpu).disable,
  python ? null,
  cuda ? null,
  memoryPerJob ? 6,
  compilerCache ? null,
  specialiseClosure ? false,
  # The scope to build in and the torch to override, for an overlay that is about to replace it there.
  pythonPackages ? null,
  torch ? null,
}:
let
  inherit (lib) concatMapStringsSep concatStringsSep optional;

  # One of each, in order, however they were named: an H100 and an H200 are one target.
  gpus = lib.sort (a: b: lib.versionOlder a.target b.target) (
    lib.attrValues (lib.listToAttrs (map (g: lib.nameValuePair g.target g) (map parseGpu gpuTargets)))
  );
  targets = map (g: g.target) gpus;
  cpuInfo = if cpu == null then null else parseCpu cpu;
  cudaSupport = gpus != [ ];

  undotted = lib.replaceStrings [ "." ] [ "" ];
  underscored = lib.replaceStrings [ "." ] [ "_" ];

  ofCuda = if cuda == null then pkgs else withCuda pkgs cuda;
  pkgs' = if specialiseClosure then specialisedClosure ofCuda targets else ofCuda;
  inherit (pkgs'.stdenv.hostPlatform) system;

  pythonAttr = if python == null then "python3" else "python${undotted python}";
  # A nixpkgs drops a Python package by package before it drops the interpreter.
  hasTorch =
    name:
    (builtins.tryEval (pkgs'.${name}.pkgs.torch.override { inherit cudaSupport; }).drvPath).success;
  pythons = lib.filter (name: builtins.match "python3[0-9]+" name != null && hasTorch name) (
    lib.attrNames pkgs'
  );
  interpreter =
    if pythonPackages != null then
      pythonPackages.python
    # Where no Python has one it is not Python's fault, and torch itself says what it is.
    else if python == null || pkgs' ? ${pythonAttr} && (hasTorch pythonAttr || pythons == [ ]) then
      pkgs'.${pythonAttr}
    else
      throw "this nixpkgs has no torch for Python ${python}: take one of ${
        concatMapStringsSep ", " (name: pkgs'.${name}.pythonVersion) pythons
      }";

  given =
    if torch != null then
      torch
    else
      interpreter.pkgs.torch or interpreter.pkgs.pytorch
        or (throw "this nixpkgs has no torch in ${pythonAttr}Packages: take a later one");
  # Of a package set with an overlay of ours it is a variant already, with another one's flags.
  stock = given.stock or given;

  cudaVersion = pkgs'.cudaPackages.cudaMajorMinorVersion;
  # A cuDNN that has dropped the GPU would be linked and then fail at its first call.
  cudnnVersion = lib.versions.majorMinor (pkgs'.cudaPackages.cudnn.version or "0");
  withoutCudnn = lib.any (g: g.cudnn ? max && lib.versionOlder g.cudnn.max cudnnVersion) gpus;
  leftOut = (cpuInfo.without or [ ]) ++ optional withoutCudnn "CUDNN";

  gpuName =
    if cudaSupport then
      concatMapStringsSep "-" (g: g.name) gpus
    else if lib.hasSuffix "-darwin" system then
      "mps"
    else
      "cpu";
  pname = concatStringsSep "-" (
    [ "pytorch-python${undotted interpreter.pythonVersion}" ]
    ++ optional cudaSupport "cuda${underscored cudaVersion}"
    ++ [ gpuName ]
    ++ optional (cpuInfo != null) cpuInfo.name
  );

  context = {
    inherit gpus system;
    cpu = cpuInfo;
    cuda = cudaVersion;
    pytorch = stock.version;
    wheelTargets = stock.wheelTargets or null;
  };
  found = problem context;

  gpuText = concatMapStringsSep ", " (
    g: "NVIDIA ${g.architecture} ${g.name} (${concatStringsSep ", " (lib.take 4 g.products)})"
  ) gpus;
  cpuText = lib.optionalString (
    cpuInfo != null
  ) "CPUs with ${cpuInfo.title} (${lib.head cpuInfo.first} and later)";

  targeted = stock.override (
    { inherit cudaSupport; } // lib.optionalAttrs cudaSupport { gpuTargets = targets; }
  );

  variant = targeted.overrideAttrs (
    final: old: {
      inherit pname;

      # Exported by the shell, since recipes of different years set the same variables in different ways.
      preConfigure =
        (old.preConfigure or "")
        + ''
          export CFLAGS="''${CFLAGS:-} ${toString cpuFlags}"
          export CXXFLAGS="''${CXXFLAGS:-} ${toString cpuFlags}"
          ${concatMapStringsSep "\n" (component: "export USE_${component}=0") leftOut}
        ''
        + lib.optionalString (compilerCache != null) (cacheCompiler pkgs' compilerCache)
        + ''
          cat <<'BANNER'
          ==================================================================
          ${pname}
            PyTorch       ${stock.version}, Python ${interpreter.pythonVersion}
            GPU target    ${if cudaSupport then "${concatStringsSep ";" targets}  ${gpuText}" else gpuName}
            CPU features  ${if cpuInfo == null then "the platform's" else cpuInfo.title}  ${toString cpuFlags}
            CUDA          ${if cudaSupport then cudaVersion else "disabled"}
            Origin        ${targeted.origin or "compiled from source"}
          ==================================================================
          BANNER
        '';

      # nixpkgs has set MAX_JOBS to all cores by now. A machine that runs out of memory loses the whole build.
      preBuild = (old.preBuild or "") + limitJobs memoryPerJob;

      passthru =
        let
          around = surroundings {
            inherit interpreter pythonPackages;
            pkgs = pkgs';
          } final.finalPackage;
        in
        (old.passthru or { })
        // around
        // {
          inherit
            cpuFlags
            cudaSupport
            memoryPerJob
            stock
            ;
          gpu = if cudaSupport then gpuName else null;
          cpu = cpuInfo.name or null;
          cuda = if cudaSupport then cudaVersion else null;
          python = interpreter.pythonVersion;
          gpuTargets = targets;
          tests = (old.passthru.tests or { }) // around.tests;
        }
        # torchvision, torchaudio and other CUDA extensions of nixpkgs compile for these.
        // lib.optionalAttrs cudaSupport { cudaCapabilities = targets; };

      meta = old.meta // {
        description = "PyTorch for ${
          concatStringsSep " and " (
            optional cudaSupport "${gpuText} with CUDA ${cudaVersion}"
            ++ optional (cpuInfo != null) cpuText
            ++ optional (gpuName == "mps") "Apple silicon with Metal Performance Shaders"
          )
        }";
        platforms = lib.foldl' lib.intersectLists (cpuInfo.platforms or [ system ]) (
          map (g: g.platforms) gpus
        );
      };
    }
  );
  config = pkgs.config or { };
  nearest = suggestion (context // { cudas = cudaVersions pkgs; });
in
if gpu != null && gpuTargets != [ gpu ] then
  throw "gpu and gpuTargets: write one of them, gpuTargets for several GPUs"
else if !lib.functionArgs stock.override ? gpuTargets then
  throw "torch ${stock.version} of this nixpkgs takes no gpuTargets: take a nixpkgs of 2023 or later"
else if found != null then
  throw "${pname}: ${found}${
    lib.optionalString (nearest != "") "; nearest that works here: ${nearest}"
  }"
else
  lib.warnIf (cudaSupport && !(config.cudaSupport or true))
    "${pname}: no binary cache has all that it needs from this package set: import nixpkgs with config.cudaSupport = true, as its CUDA builds do"
    (
      lib.warnIf (cudaSupport && config.cudaCapabilities or [ ] != [ ])
        "${pname}: no binary cache has all that it needs from this package set: leave config.cudaCapabilities out, PyTorch's GPUs are gpuTargets"
        variant
    )
