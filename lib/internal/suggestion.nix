{
  lib,
  hardware,
  nearest,
  nearestCuda,
  parseGpu,
  problem,
  runsOn,
}:

/**
  The name of the variant nearest to one that cannot be built, among those that can, "" where there is none: the same one on
  another CUDA of the package set, else one whose machine code the GPU runs, which is that of an earlier
  minor version of its compute capability, else the one that is spelled most like it. Of an official wheel the
  GPU may run more than that code: `mkPytorchBin` keeps it. Of several GPUs it is a variant for all of them on another
  CUDA or of the official wheel, else for those of them that can be built.

  # Type

  ```
  suggestion :: { gpus, cpu, system, cuda, cudas, pytorch, wheelTargets, refusal } -> String
  ```

  # Example

  ```nix
  suggestion { gpus = [ (parseGpu "sm70") ]; cuda = "13.0"; cudas = [ "12.9" "13.0" ]; ... }
  => "pytorch-cuda12_9-sm70-avx2"
  suggestion { gpus = [ (parseGpu "sm89") ]; wheelTargets = [ "8.0" "8.6" "9.0" ]; ... }
  => "pytorch-bin-sm89, with the sm86 code that sm89 runs"
  ```
*/
{
  gpus,
  cpu,
  cuda,
  cudas,
  ...
}@context:
let
  joined = lib.concatMapStringsSep "-" (gpu: gpu.name);
  name = gpu: cpu: "pytorch-${if gpu == null then "cpu" else gpu.name}-${cpu.name}";
  worksFor = changes: problem (removeAttrs context [ "cudas" ] // changes) == null;
  works =
    choice:
    worksFor {
      inherit (choice) cpu cuda;
      gpus = lib.optional (choice.gpu != null) choice.gpu;
    };

  # Of several GPUs.
  allRun = lib.filter (other: worksFor { cuda = other; }) cudas;
  ofWheel =
    gpu:
    lib.filter (
      capability:
      runsOn {
        kind = "cubin";
        inherit capability;
      } gpu.capability
    ) context.wheelTargets;
  some = lib.filter (gpu: worksFor { gpus = [ gpu ]; }) gpus;
  wanted = if gpus == [ ] then null else lib.head gpus;
  refusal = context.refusal or (_: _: null);
  otherCuda = nearestCuda wanted cuda (lib.filter (other: refusal wanted other == null) cudas);
  working = lib.filter works (
    lib.cartesianProduct {
      gpu = [ null ] ++ map (gpu: gpu // { target = gpu.capability; }) (lib.attrValues hardware.gpus);
      cpu = lib.attrValues hardware.cpus;
      cuda = [ cuda ];
    }
  );
  runs =
    choice:
    choice.gpu != null
    && choice.cpu == cpu
    && choice.gpu.name != wanted.name
    && runsOn {
      kind = "cubin";
      inherit (choice.gpu) capability;
    } wanted.capability;
  # Attribute names are sorted, and so are the minor versions of one major one.
  running = if wanted == null then [ ] else lib.filter runs working;
in
if cpu == null then
  ""
else if lib.length gpus > 1 then
  if allRun != [ ] then
    "pytorch-cuda${lib.replaceStrings [ "." ] [ "_" ] (lib.last allRun)}-${joined gpus}-${cpu.name}"
  else if context.wheelTargets or null != null && lib.all (gpu: ofWheel gpu != [ ]) gpus then
    # Without a suffix: wheels' names have none.
    "pytorch-bin-${joined (map (gpu: parseGpu gpu.capability) gpus)}, with the code that each of them runs"
  else if some != [ ] then
    "pytorch-${joined some}-${cpu.name}, for ${if lib.length some > 1 then "those" else "one"} of them"
  else
    ""
else if
  wanted != null
  && works {
    inherit cpu;
    gpu = wanted;
    cuda = otherCuda;
  }
then
  "pytorch-cuda${lib.replaceStrings [ "." ] [ "_" ] otherCuda}-${wanted.name}-${cpu.name}"
else if running != [ ] && context.wheelTargets or null != null then
  "pytorch-bin-${wanted.name}, with the ${(lib.last running).gpu.name} code that ${wanted.name} runs"
else if running != [ ] then
  "${name (lib.last running).gpu cpu}, whose code ${wanted.name} runs"
else
  lib.concatStringsSep "" (
    nearest 1 (name wanted cpu) (map (choice: name choice.gpu choice.cpu) working)
  )
