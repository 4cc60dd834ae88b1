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
  What to write instead of a variant that cannot be built, among those that can and whose code its GPUs run: the same one
  on another CUDA of the package set, else one for an earlier minor version of their compute capability, else the one that
  is spelled most like it, else one for some of several GPUs. Or that there is none. Of an official wheel a GPU may run more
  than that code: `mkPytorchBin` keeps it.

  # Type

  ```
  suggestion :: { gpus, cpu, system, cuda, cudas, pytorch, wheelTargets, refusal } -> String
  ```

  # Example

  ```nix
  suggestion { gpus = [ (parseGpu "sm70") ]; cuda = "13.0"; cudas = [ "12.9" "13.0" ]; ... }
  => "nearest that works here: pytorch-cuda12_9-sm70-avx2"
  suggestion { gpus = [ (parseGpu "sm89") ]; wheelTargets = [ "8.0" "8.6" "9.0" ]; ... }
  => "nearest that works here: pytorch-bin-sm89, with the sm86 code that sm89 runs"
  suggestion { gpus = [ (parseGpu "sm61") ]; wheelTargets = [ "8.0" "8.6" "9.0" ]; ... }
  => "nothing that works here runs on sm61"
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
  namesOf = lib.concatMapStringsSep "-" (gpu: gpu.name);
  listed = lib.concatMapStringsSep " and " (gpu: gpu.name) gpus;
  name = choice: "pytorch-${if choice.gpus == [ ] then "cpu" else namesOf choice.gpus}-${choice.cpu.name}";
  works = choice: problem (removeAttrs context [ "cudas" ] // choice) == null;
  ofCuda = cuda: { inherit gpus cpu cuda; };
  otherCudas = lib.filter (other: works (ofCuda other)) cudas;
  otherCuda = nearestCuda (lib.head gpus) cuda otherCudas;

  # Of several GPUs: whether the wheel has code for each, and those that a variant can be built for.
  inWheel = lib.all (
    gpu:
    lib.any (
      capability:
      runsOn {
        kind = "cubin";
        inherit capability;
      } gpu.capability
    ) (if context.wheelTargets or null == null then [ ] else context.wheelTargets)
  ) gpus;
  some = lib.filter (
    gpu:
    works {
      gpus = [ gpu ];
      inherit cpu cuda;
    }
  ) gpus;

  # Without a GPU all of them run.
  runs =
    choice:
    lib.all (
      wanted:
      lib.any (
        gpu:
        runsOn {
          kind = "cubin";
          inherit (gpu) capability;
        } wanted.capability
      ) choice.gpus
    ) gpus;
  working = lib.filter (choice: works choice && runs choice) (
    lib.cartesianProduct {
      gpus = [ [ ] ] ++ map (gpu: [ (gpu // { target = gpu.capability; }) ]) (lib.attrValues hardware.gpus);
      cpu = lib.attrValues hardware.cpus;
      cuda = [ cuda ];
    }
  );
  earlier = lib.filter (
    choice: gpus != [ ] && choice.cpu == cpu && namesOf choice.gpus != namesOf gpus
  ) working;
  # Attribute names are sorted, and so are the minor versions of one major one.
  last = lib.last earlier;
in
if cpu == null then
  ""
else if gpus != [ ] && otherCudas != [ ] then
  "nearest that works here: pytorch-cuda${lib.replaceStrings [ "." ] [ "_" ] otherCuda}-${namesOf gpus}-${cpu.name}"
else if earlier != [ ] && lib.length gpus == 1 && context.wheelTargets or null != null then
  "nearest that works here: pytorch-bin-${namesOf gpus}, with the ${namesOf last.gpus} code that ${namesOf gpus} runs"
else if earlier != [ ] then
  "nearest that works here: ${name last}, whose code runs on ${listed}"
else if lib.length gpus > 1 && inWheel then
  # Without a suffix: wheels' names have none.
  "nearest that works here: pytorch-bin-${namesOf (map (gpu: parseGpu gpu.capability) gpus)}, with the code that each of them runs"
else if working != [ ] then
  "nearest that works here: ${lib.head (nearest 1 (name (ofCuda cuda)) (map name working))}"
else if lib.length gpus > 1 && some != [ ] then
  "nearest that works here: pytorch-${namesOf some}-${cpu.name}, for ${if lib.length some > 1 then "those" else "one"} of them"
else
  lib.optionalString (gpus != [ ]) "nothing that works here runs on ${listed}"
