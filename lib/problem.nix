{ lib }:

let
  inherit (lib) versionAtLeast versionOlder;

  # "12.8" of "12.8.93"
  minor = version: lib.concatStringsSep "." (lib.take 2 (lib.splitVersion version));
in
/**
  Why a package set cannot build a variant, in one line with the way out, or `null` if it can.

  `cuda`, `pytorch` and `system` are what the package set gives; `wheelTargets` are the targets that
  an official wheel has code for, `null` where PyTorch is compiled.

  # Type

  ```
  problem :: { gpus, cpu, system, cuda, pytorch, wheelTargets } -> Null | String
  ```

  # Example

  ```nix
  problem { gpus = [ (parseGpu "sm70") ]; cpu = parseCpu "avx2"; system = "x86_64-linux"; cuda = "13.0"; pytorch = "2.12.0"; wheelTargets = null; }
  => "CUDA 13.0 has no sm70 (8.0 to 12.9 have): name another CUDA, as in pytorch-python313-cuda12_9-sm70-avx2"
  ```
*/
{
  gpus,
  cpu,
  system,
  cuda,
  pytorch,
  wheelTargets ? null,
}:
let
  reasons =
    lib.optional (!lib.elem system cpu.platforms)
      "${cpu.name} is an instruction set of ${lib.concatStringsSep ", " cpu.platforms}, and this is ${system}"
    ++ lib.concatMap (
      gpu:
      lib.optional (!lib.elem system gpu.platforms)
        "${gpu.name} (${lib.head gpu.products}) exists on ${lib.concatStringsSep ", " gpu.platforms} only, and this is ${system}"
      ++
        lib.optional
          (versionOlder cuda gpu.cuda.min || gpu.cuda ? max && versionOlder gpu.cuda.max (minor cuda))
          "CUDA ${cuda} cannot target ${gpu.name}: take CUDA ${gpu.cuda.min} ${
            if gpu.cuda ? max then "to ${gpu.cuda.max}" else "or later"
          }, as in cuda = \"${gpu.cuda.max or gpu.cuda.min}\""
      ++
        lib.optional (versionOlder pytorch gpu.pytorch.min)
          "PyTorch ${pytorch} does not know ${gpu.name}: take a nixpkgs with PyTorch ${gpu.pytorch.min} or later"
      ++
        lib.optional (wheelTargets != null && !lib.elem gpu.target wheelTargets)
          "the official PyTorch ${pytorch} wheel has no ${gpu.name} code, it has ${
            lib.concatMapStringsSep ", " (target: "sm${lib.replaceStrings [ "." ] [ "" ] target}") wheelTargets
          }: take one of these, or a nixpkgs that compiles"
    ) gpus
    ++ lib.optional (
      wheelTargets != null && gpus == [ ]
    ) "the official PyTorch ${pytorch} wheel is built for CUDA: take a GPU variant, or a nixpkgs that compiles";
in
if reasons == [ ] then null else lib.head reasons
