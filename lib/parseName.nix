{
  lib,
  hardware,
  nearestNames,
  otherMaker,
  parseCpu,
  parseGpu,
}:

let
  unknown =
    name: why: throw "${name}: ${why}; nearest: ${lib.concatStringsSep ", " (nearestNames name)}";

  # "312" -> "3.12", "12_8" -> "12.8"; of what the name leaves out `null`
  pythonVersion =
    digits: if digits == null then null else "3.${lib.removePrefix "3" digits}";
  cudaVersion =
    digits: if digits == null then null else lib.replaceStrings [ "_" ] [ "." ] digits;

  versions = "(-python(3[0-9]+))?(-cuda([0-9]+_[0-9]+))?";
  plainGpus = "(sm[0-9]+(-sm[0-9]+)*)";

  # The three forms, and where their parts stand.
  readCompiled =
    name:
    let
      parts = builtins.match "(pytorch|torchvision|torchaudio)${versions}-(cpu|sm[0-9]+[af]?(-sm[0-9]+[af]?)*)-(.+)" name;
      part = lib.elemAt parts;
    in
    if parts == null then
      null
    else
      {
        kind = "compiled";
        package = part 0;
        python = part 2;
        cuda = part 4;
        gpus = if part 5 == "cpu" then [ ] else lib.splitString "-" (part 5);
        cpu = part 7;
      };
  readWheel =
    name:
    let
      parts = builtins.match "pytorch(-python(3[0-9]+))?-bin${versions}-${plainGpus}" name;
      part = lib.elemAt parts;
    in
    # Python is named before "-bin" or after it.
    if parts == null || part 1 != null && part 3 != null then
      null
    else
      {
        kind = "wheel";
        package = "pytorch-bin";
        python = if part 1 == null then part 3 else part 1;
        cuda = part 5;
        gpus = lib.splitString "-" (part 6);
        cpu = null;
      };
  readCached =
    name:
    let
      parts = builtins.match "pytorch${versions}-${plainGpus}" name;
      part = lib.elemAt parts;
    in
    if parts == null then
      null
    else
      {
        kind = "cached";
        package = "pytorch";
        python = part 1;
        cuda = part 3;
        gpus = lib.splitString "-" (part 4);
        cpu = null;
      };
in
/**
  Read the name of a variant, short or spelled out. There are three kinds:

  - `"compiled"`: for GPUs, or none, and an instruction set, as `pytorch-sm90-avx512`
  - `"wheel"`: the official wheel cut down to GPUs, as `pytorch-bin-sm90`
  - `"cached"`: nixpkgs' own CUDA build cut down to GPUs, as `pytorch-sm90`

  Parts that the name leaves out are `null`: the package set's default holds. `cpu` is `null` where the CPU code
  is not this project's. `gpus` is empty for a CPU build and has several members for a multi-architecture build.

  # Type

  ```
  parseName :: String -> { name, kind, package, python, cuda, gpus, cpu }
  ```

  # Example

  ```nix
  (parseName "pytorch-python313-cuda12_8-sm90-avx512").cuda
  => "12.8"
  map (gpu: gpu.target) (parseName "pytorch-sm80-sm86-avx2").gpus
  => [ "8.0" "8.6" ]
  (parseName "pytorch-bin-cuda13_0-sm90").kind
  => "wheel"
  ```
*/
name:
let
  # "pytorch-sm80-sm90" is no "pytorch-sm80" with an instruction set of that name.
  read = lib.findFirst (found: found != null) null (
    map (form: form name) [
      readWheel
      readCached
      readCompiled
    ]
  );
  # What it says of the wheel is not there.
  wheel = builtins.match "(pytorch(-python3[0-9]+)?-bin${versions}-)(cpu|sm[0-9]+(-sm[0-9]+)*)(-.*)?" name;
  maker = otherMaker name;
  # "sm90a" is looked up as "sm90"
  entry = gpu: hardware.gpus.${lib.head (builtins.match "(sm[0-9]+)[af]?" gpu)} or null;
  unknownGpus = lib.filter (gpu: entry gpu == null) read.gpus;
  cpu = hardware.cpus.${read.cpu};
  gpusElsewhere = lib.filter (
    gpu: read.cpu != null && lib.intersectLists (entry gpu).platforms cpu.platforms == [ ]
  ) read.gpus;
in
if read == null && maker != null then
  throw "${name}: this GPU is ${maker}"
else if read == null && wheel != null && lib.elemAt wheel 6 == "cpu" then
  throw "${name}: the official wheel is here for CUDA alone, and runs without a GPU too: write ${lib.head wheel}sm80, or pytorch-cpu-avx2 to compile one without CUDA"
else if read == null && wheel != null then
  throw "${name}: the official wheel is for no instruction set, it picks AVX2 or AVX-512 when it runs: write ${lib.head wheel}${lib.elemAt wheel 6}"
else if read == null then
  unknown name "not a variant's name, which is pytorch-[python3XX-][cudaXX_Y-]<smXX|cpu>-<instruction set>, or pytorch-bin-<smXX> for the official wheel"
else if unknownGpus != [ ] then
  unknown name "no GPU architecture ${lib.concatStringsSep ", " unknownGpus}"
else if read.cpu != null && !hardware.cpus ? ${read.cpu} then
  unknown name "no CPU instruction set ${read.cpu}"
else if gpusElsewhere != [ ] then
  unknown name "${lib.head gpusElsewhere} exists on ${
    lib.concatStringsSep ", " (entry (lib.head gpusElsewhere)).platforms
  } only, and ${read.cpu} on ${lib.concatStringsSep ", " cpu.platforms}"
else
  read
  // {
    inherit name;
    python = pythonVersion read.python;
    cuda = cudaVersion read.cuda;
    gpus = map parseGpu read.gpus;
    cpu = if read.cpu == null then null else parseCpu read.cpu;
  }
