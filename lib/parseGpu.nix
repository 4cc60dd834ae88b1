{
  lib,
  hardware,
  matchGpu,
  nearest,
  otherMaker,
}:

/**
  Read a GPU architecture in any spelling that people use: `sm90`, `sm_90`, `SM90`, `9.0`, `90`,
  `compute_90`, `H100`, `NVIDIA H100 80GB HBM3`, each of the first with `a` or `f` for the
  architecture- and family-specific instructions and `+PTX`.

  The result is the table's entry with `name` (as in package names) and `target` (the dotted form,
  the only one that PyTorch's build scripts take).

  # Type

  ```
  parseGpu :: String -> { name, target, capability, products, ... }
  ```

  # Example

  ```nix
  (parseGpu "NVIDIA H100 80GB HBM3").target
  => "9.0"
  (parseGpu "sm_90a").name
  => "sm90a"
  ```
*/
text:
let
  gpu = matchGpu text;
  maker = otherMaker text;
  products = lib.concatMap (gpu: gpu.products) (lib.attrValues hardware.gpus);
in
if gpu == null && maker != null then
  throw "\"${text}\" is ${maker}"
else if gpu == null then
  throw "\"${text}\" is no GPU architecture or product in lib/hardware.toml; nearest: ${
    lib.concatStringsSep ", " (nearest 3 text (lib.attrNames hardware.gpus ++ products))
  }"
else
  gpu
