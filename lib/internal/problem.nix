{ lib, cudaTargets }:

let
  inherit (lib) versionOlder;

  list = lib.concatStringsSep ", ";
in
/**
  Why a package set cannot build a variant, in one line, or `null` if it can.

  `cuda`, `pytorch` and `system` are what the package set gives; `wheelTargets` are the targets that
  an official wheel has code for, `null` where PyTorch is compiled; `refusal` is what else the package set says of a
  GPU and a CUDA release.

  # Type

  ```
  problem :: { gpus, cpu, system, cuda, pytorch, wheelTargets, refusal } -> Null | String
  ```

  # Example

  ```nix
  problem { gpus = [ (parseGpu "sm70") ]; cuda = "13.0"; ... }
  => "CUDA 13.0 cannot target sm70, 9.0 to 12.9 can"
  ```
*/
{
  gpus,
  cpu,
  system,
  cuda,
  pytorch,
  wheelTargets ? null,
  refusal ? _: _: null,
}:
let
  cpuReasons =
    lib.optional (
      cpu == null && !lib.hasSuffix "-darwin" system
    ) "no CPU instruction set is named: write one, as in cpu = \"avx2\""
    ++ lib.optional (
      cpu != null && !lib.elem system cpu.platforms
    ) "${cpu.name} is an instruction set of ${list cpu.platforms}, and this is ${system}";

  gpuReasons =
    gpu:
    lib.optional (!lib.elem system gpu.platforms)
      "${gpu.name} (${lib.head gpu.products}) exists on ${list gpu.platforms} only, and this is ${system}"
    ++
      lib.optional (!cudaTargets gpu cuda)
        "CUDA ${cuda} cannot target ${gpu.name}, ${gpu.cuda.min} ${
          if gpu.cuda ? max then "to ${gpu.cuda.max}" else "and later"
        } can"
    ++ lib.optional (refusal gpu cuda != null) (refusal gpu cuda)
    ++ lib.optional (versionOlder pytorch gpu.pytorch.min) "PyTorch ${pytorch} does not know ${gpu.name}, ${gpu.pytorch.min} and later do"
    ++
      lib.optional (wheelTargets != null && !lib.elem gpu.target wheelTargets)
        "the official PyTorch ${pytorch} wheel has no ${gpu.name} code, it has ${
          list (map (target: "sm${lib.replaceStrings [ "." ] [ "" ] target}") wheelTargets)
        }; a nixpkgs that compiles has no such limit";

  wheelReasons =
    lib.optional (wheelTargets != null && gpus == [ ])
      "the official PyTorch ${pytorch} wheel is built for CUDA; a nixpkgs that compiles has no such limit";

  reasons = cpuReasons ++ lib.concatMap gpuReasons gpus ++ wheelReasons;
in
if reasons == [ ] then null else lib.head reasons
