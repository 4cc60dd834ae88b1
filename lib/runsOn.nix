{ lib, hardware }:

let
  number = capability: lib.toInt (lib.replaceStrings [ "." ] [ "" ] capability);
  tegra = map (gpu: gpu.capability) (lib.filter (gpu: gpu.tegra) (lib.attrValues hardware.gpus));
  isTegra = capability: lib.elem capability tegra;
  major = lib.versions.major;
in
/**
  Whether a GPU runs code that is made for some compute capability. This is NVIDIA's rule:

  - Machine code (`"cubin"`) runs on its own compute capability, and on later minor ones of the same major one. It does
    not cross between Tegra and all other GPUs.
  - PTX (`"ptx"`) runs on its own compute capability and on all later ones: the driver compiles it.
  - With the suffix `a`, either runs on its own compute capability alone.
  - With the suffix `f`, either runs on later minor ones of the same major one, and PTX nowhere else.

  Sources: CUDA C++ Programming Guide, "Compute Capability and Feature Set Compatibility"; CUDA for Tegra Application
  Note. In Python it is `pytorch_variants.hardware.compatibility.runs_on`; a test holds the two equal.

  # Type

  ```
  runsOn :: { kind :: "cubin" | "ptx", capability :: String, suffix :: "" | "a" | "f" ? "" } -> String -> Bool
  ```

  # Example

  ```nix
  runsOn { kind = "cubin"; capability = "8.6"; } "8.9"
  => true
  runsOn { kind = "cubin"; capability = "8.0"; } "8.7"
  => false
  ```
*/
{
  kind,
  capability,
  suffix ? "",
}:
gpu:
if suffix == "a" then
  capability == gpu
else if kind == "ptx" && suffix == "" then
  number capability <= number gpu
else
  major capability == major gpu
  && number capability <= number gpu
  && (kind == "ptx" || isTegra capability == isTegra gpu)
