{
  lib,
  hardware,
  nearest,
  nearestCuda,
  problem,
}:

/**
  The name of the variant nearest to one that cannot be built, among those that can: the same one on
  another CUDA of the package set, else the GPU and instruction set that are spelled most like it.

  # Type

  ```
  suggestion :: { gpus, cpu, system, cuda, cudas, pytorch, wheelTargets } -> String
  ```

  # Example

  ```nix
  suggestion { gpus = [ (parseGpu "sm70") ]; cuda = "13.0"; cudas = [ "12.9" "13.0" ]; ... }
  => "pytorch-cuda12_9-sm70-avx2"
  ```
*/
{ gpus, cpu, cuda, cudas, ... }@context:
let
  name = gpu: cpu: "pytorch-${if gpu == null then "cpu" else gpu.name}-${cpu.name}";
  works =
    choice:
    problem (
      removeAttrs context [ "cudas" ]
      // {
        inherit (choice) cpu cuda;
        gpus = lib.optional (choice.gpu != null) choice.gpu;
      }
    ) == null;
  wanted = if gpus == [ ] then null else lib.head gpus;
  otherCuda = nearestCuda wanted cuda cudas;
  working = lib.filter works (
    lib.cartesianProduct {
      gpu = [ null ] ++ map (gpu: gpu // { target = gpu.capability; }) (lib.attrValues hardware.gpus);
      cpu = lib.attrValues hardware.cpus;
      cuda = [ cuda ];
    }
  );
in
if
  wanted != null
  && works {
    inherit cpu;
    gpu = wanted;
    cuda = otherCuda;
  }
then
  "pytorch-cuda${lib.replaceStrings [ "." ] [ "_" ] otherCuda}-${wanted.name}-${cpu.name}"
else
  lib.concatStringsSep "" (nearest 1 (name wanted cpu) (map (choice: name choice.gpu choice.cpu) working))
