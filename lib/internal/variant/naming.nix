{
  lib,
  inOrder,
  parseCpu,
}:

let
  inherit (lib) concatMapStringsSep concatStringsSep optional;
  undotted = lib.replaceStrings [ "." ] [ "" ];
  underscored = lib.replaceStrings [ "." ] [ "_" ];
in
/**
  What a variant is for, in the words of names and descriptions.

  # Type

  ```
  naming :: { cpu, gpuTargets, ... } -> {
    gpus :: [ Gpu ],
    targets :: [ String ],
    cpu :: Null | Cpu,
    cudaSupport :: Bool,
    gpuName :: System -> String,
    gpuText :: String,
    pname :: { system, python, cuda } -> String,
    wheelName :: { system, python, cuda } -> String,
    description :: { system, cuda, wheel ? false } -> String,
  }
  ```

  # Example

  ```nix
  (naming { cpu = "avx512"; gpuTargets = [ "H100" ]; }).pname { system = "x86_64-linux"; python = "3.13"; cuda = "12.9"; }
  => "pytorch-python313-cuda12_9-sm90-avx512"
  ```
*/
settings:
let
  gpus = inOrder settings.gpuTargets;
  cpu = if settings.cpu == null then null else parseCpu settings.cpu;
  cudaSupport = gpus != [ ];
  gpuName =
    system:
    if cudaSupport then
      concatMapStringsSep "-" (g: g.name) gpus
    else if lib.hasSuffix "-darwin" system then
      "mps"
    else
      "cpu";
  spelled =
    package: end:
    {
      system,
      python,
      cuda,
    }:
    concatStringsSep "-" (
      [ "${package}-python${undotted python}" ]
      ++ optional cudaSupport "cuda${underscored cuda}"
      ++ [ (gpuName system) ]
      ++ end
    );
  gpuText = concatMapStringsSep ", " (
    g: "NVIDIA ${g.architecture} ${g.name} (${concatStringsSep ", " (lib.take 4 g.products)})"
  ) gpus;
in
{
  inherit
    gpus
    cpu
    cudaSupport
    gpuName
    gpuText
    ;
  targets = map (g: g.target) gpus;
  pname = spelled "pytorch" (optional (cpu != null) cpu.name);
  # The same GPUs' official wheel, which has no instruction set of its own.
  wheelName = spelled "pytorch-bin" [ ];
  description =
    {
      system,
      cuda,
      wheel ? false,
    }:
    "PyTorch${lib.optionalString wheel "'s official wheel"} for ${
      concatStringsSep " and " (
        optional cudaSupport "${gpuText} with CUDA ${cuda}"
        ++ optional (cpu != null && !wheel) "CPUs with ${cpu.title} (${lib.head cpu.first} and later)"
        ++ optional (gpuName system == "mps") "Apple silicon with Metal Performance Shaders"
      )
    }";
}
