{
  lib,
  cudaVersions,
  identifiers,
  inOrder,
  maintainers,
  runsOn,
  surroundings,
  wheelCuda,
  wheelTargets,
  withCuda,
}:

let
  undotted = lib.replaceStrings [ "." ] [ "" ];
in
/**
  The official PyTorch wheel, nixpkgs' `torch-bin`, with the GPU code of one architecture or several: in minutes, and with
  the bits that PyTorch's own builds compute. The CPU code stays as it is, it dispatches at run time.

  A GPU that the wheel is not built for gets what it runs of it: the code of the latest earlier architecture of
  its major compute capability (`passthru.code`, in the order of the GPUs), and its own where single kernels have that.
  So an L40S (8.9) gets sm_86 code, and sm_89 code for FP8.

  # Type

  ```
  mkPytorchBin :: {
    pkgs :: Pkgs,
    gpu :: String,
    gpuTargets :: [ String ] ? [ gpu ],
    python :: Null | String ? null,
  } -> Derivation
  ```

  # Example

  ```nix
  mkPytorchBin { inherit pkgs; gpu = "H100"; }
  => «derivation python3.13-pytorch-bin-sm90-2.12.0»
  (mkPytorchBin { inherit pkgs; gpuTargets = [ "L40S" "A100" ]; }).code
  => [ "8.0" "8.6" ]
  ```
*/
{
  pkgs,
  gpu ? null,
  gpuTargets ? [ gpu ],
  python ? null,
}:
let
  wanted = inOrder gpuTargets;
  names = lib.concatMapStringsSep "-" (gpu: gpu.name) wanted;
  name = "pytorch-bin-${names}";
  attribute = if python == null then "python3" else "python${undotted python}";
  interpreterOf =
    set:
    set.${attribute}
      or (throw "this package set has no Python ${python}: leave `python` out for its own");

  given = (interpreterOf pkgs).pkgs;
  # Its dependencies have to be of the CUDA that the wheel was built with.
  cuda =
    if given ? torch-bin then
      wheelCuda given
    else
      throw "this package set has no torch-bin: take a nixpkgs of 2021 or later";
  isDefault = cuda == pkgs.cudaPackages.cudaMajorMinorVersion;
  ofCuda = if !isDefault && lib.elem cuda (cudaVersions pkgs) then withCuda pkgs cuda else pkgs;
  interpreter = interpreterOf ofCuda;
  scope = interpreter.pkgs;
  stock = scope.torch-bin;

  inherit (ofCuda.stdenv.hostPlatform) system;
  # Those of other platforms have other architectures.
  known = if system == "x86_64-linux" then wheelTargets.${toString cuda} or [ ] else [ ];
  targets = stock.wheelTargets or known;
  # Ordered, the last is the nearest.
  fitting =
    gpu:
    lib.filter (
      capability:
      runsOn {
        kind = "cubin";
        inherit capability;
      } gpu.capability
    ) targets;
  without = lib.filter (gpu: fitting gpu == [ ]) wanted;
  codeOf = gpu: lib.last (fitting gpu);
  describe =
    gpu:
    "NVIDIA ${gpu.architecture} ${gpu.name}${
      lib.optionalString (codeOf gpu != gpu.capability) ", which runs sm${undotted (codeOf gpu)} code"
    } (${lib.concatStringsSep ", " (lib.take 4 gpu.products)})";

  bin = stock.overrideAttrs (
    final: old: {
      pname = name;
      # Before libraries are patched for Nix: that takes the room in them that retargeting needs.
      postInstall =
        scope.pytorch-variants.retarget {
          directory = "$out/${scope.python.sitePackages}/torch";
          gpus = map (gpu: gpu.capability) wanted;
          compatible = true;
        }
        + (old.postInstall or "");
      passthru =
        (old.passthru or { })
        // {
          code = map codeOf wanted;
          gpu = names;
          cuda = if cuda == null then ofCuda.cudaPackages.cudaMajorMinorVersion else cuda;
          origin = "wheel";
        }
        // surroundings {
          inherit interpreter;
          pkgs = ofCuda;
        } final.finalPackage;
      meta = old.meta // {
        description = "PyTorch's official wheel with the GPU code for ${
          lib.concatMapStringsSep " and " describe wanted
        }";
        identifiers = identifiers stock;
        maintainers = maintainers ++ old.meta.maintainers or [ ];
        platforms = lib.foldl' lib.intersectLists (old.meta.platforms or [ system ]) (
          map (gpu: gpu.platforms) wanted
        );
      };
    }
  );
in
if without != [ ] then
  throw "${name}: the official PyTorch ${stock.version} wheel for ${system} has ${
    if targets == [ ] then
      "no GPU code that is known of"
    else
      "no code that ${(lib.head without).name} runs, it has ${
        lib.concatMapStringsSep ", " (target: "sm${undotted target}") targets
      }"
  }; take mkPytorchVariant, which compiles"
else
  bin
