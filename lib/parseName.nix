{
  lib,
  hardware,
  nearestNames,
  parseCpu,
  parseGpu,
}:

let
  unknown =
    name: why: throw "${name}: ${why}; nearest: ${lib.concatStringsSep ", " (nearestNames name)}";

  # "312" -> "3.12", "12_8" -> "12.8"
  pythonVersion = digits: "3.${lib.removePrefix "3" digits}";
  cudaVersion = lib.replaceStrings [ "_" ] [ "." ];
in
/**
  Read the name of a variant, short or spelled out.

  Parts that the name leaves out are `null`: the package set's default holds. `gpus` is empty for a
  CPU build and has several members for a multi-architecture build.

  # Type

  ```
  parseName :: String -> { name, package, python, cuda, gpus, cpu }
  ```

  # Example

  ```nix
  (parseName "pytorch-python313-cuda12_8-sm90-avx512").cuda
  => "12.8"
  map (gpu: gpu.target) (parseName "pytorch-sm80-sm86-avx2").gpus
  => [ "8.0" "8.6" ]
  ```
*/
name:
let
  parts = builtins.match "(pytorch|torchvision|torchaudio)(-python(3[0-9]+))?(-cuda([0-9]+_[0-9]+))?-(cpu|sm[0-9]+[af]?(-sm[0-9]+[af]?)*)-(.+)" name;
  part = lib.elemAt parts;
  gpuNames = if part 5 == "cpu" then [ ] else lib.splitString "-" (part 5);
  known = table: entry: lib.hasAttr entry table;
  # "sm90a" is looked up as "sm90"
  bareGpu = gpu: lib.head (builtins.match "(sm[0-9]+)[af]?" gpu);
  unknownGpus = lib.filter (gpu: !known hardware.gpus (bareGpu gpu)) gpuNames;
  gpusElsewhere = lib.filter (
    gpu:
    lib.intersectLists hardware.gpus.${bareGpu gpu}.platforms hardware.cpus.${part 7}.platforms == [ ]
  ) gpuNames;
in
if parts == null then
  unknown name "not a variant's name, which is pytorch-[python3XX-][cudaXX_Y-]<smXX|cpu>-<instruction set>"
else if unknownGpus != [ ] then
  unknown name "no GPU architecture ${lib.concatStringsSep ", " unknownGpus}"
else if !known hardware.cpus (part 7) then
  unknown name "no CPU instruction set ${part 7}"
else if gpusElsewhere != [ ] then
  unknown name "${lib.concatStringsSep ", " gpusElsewhere} exists on ${
    lib.concatStringsSep ", " hardware.gpus.${bareGpu (lib.head gpusElsewhere)}.platforms
  } only, and ${part 7} on ${lib.concatStringsSep ", " hardware.cpus.${part 7}.platforms}"
else
  {
    inherit name;
    package = part 0;
    python = if part 2 == null then null else pythonVersion (part 2);
    cuda = if part 4 == null then null else cudaVersion (part 4);
    gpus = map parseGpu gpuNames;
    cpu = parseCpu (part 7);
  }
