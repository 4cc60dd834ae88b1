{ lib, hardware }:

let
  onSamePlatform = gpu: cpu: gpu == null || lib.intersectLists gpu.platforms cpu.platforms != [ ];
  pairs = lib.cartesianProduct {
    gpu = [ null ] ++ lib.attrValues hardware.gpus;
    cpu = lib.attrValues hardware.cpus;
  };
in
/**
  `mkPytorchVariant`'s arguments for every short name: each GPU of the table with each instruction set that
  some platform has beside it, and each instruction set without a GPU.

  # Type

  ```
  variants :: AttrSet { gpu :: Null | String, cpu :: String }
  ```

  # Example

  ```nix
  variants.pytorch-sm90-avx512
  => { gpu = "sm90"; cpu = "avx512"; }
  ```
*/
lib.listToAttrs (
  map (
    { gpu, cpu }:
    lib.nameValuePair "pytorch-${if gpu == null then "cpu" else gpu.name}-${cpu.name}" {
      gpu = if gpu == null then null else gpu.name;
      cpu = cpu.name;
    }
  ) (lib.filter ({ gpu, cpu }: onSamePlatform gpu cpu) pairs)
)
