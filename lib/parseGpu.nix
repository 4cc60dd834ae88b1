{
  lib,
  hardware,
  nearest,
}:

let
  gpus = lib.attrValues hardware.gpus;

  # "NVIDIA H100-SXM5_80GB" -> " nvidia h100 sxm5 80gb ", so that a product is found by whole words.
  words =
    text: " ${lib.replaceStrings [ "-" "_" "/" "(" ")" ] [ " " " " " " " " " " ] (lib.toLower text)} ";

  byCapability = digits: lib.findFirst (gpu: lib.replaceStrings [ "." ] [ "" ] gpu.capability == digits) null gpus;

  # The longest product name wins: "RTX 6000 Ada" is not an "RTX 6000".
  byProduct =
    text:
    let
      found = lib.concatMap (
        gpu:
        map (product: { inherit gpu product; }) (
          lib.filter (product: lib.hasInfix (words product) (words text)) gpu.products
        )
      ) gpus;
      longest = lib.sort (a: b: lib.stringLength a.product > lib.stringLength b.product) found;
    in
    if found == [ ] then null else (lib.head longest).gpu;

  unknown =
    text:
    throw "\"${text}\" is no GPU architecture or product in lib/hardware.toml; nearest: ${
      lib.concatStringsSep ", " (
        nearest 3 text (lib.attrNames hardware.gpus ++ lib.concatMap (gpu: gpu.products) gpus)
      )
    }";
in
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
  lower = lib.toLower text;
  undotted = builtins.match "(sm_?|compute_?)?([0-9]{2,3})([af]?)(\\+ptx)?" lower;
  dotted = builtins.match "([0-9]{1,2})\\.([0-9])([af]?)(\\+ptx)?" lower;
  digits = if dotted != null then lib.concatStrings (lib.take 2 dotted) else lib.elemAt undotted 1;
  isNumber = dotted != null || undotted != null;
  gpu = if isNumber then byCapability digits else byProduct text;
  suffix = if isNumber then lib.elemAt (if dotted != null then dotted else undotted) 2 else "";
  hasPtx = lib.hasSuffix "+ptx" lower;
  # Which generations have instructions of their own is NVIDIA's rule, not an entry of the table.
  suffixFloor = {
    "" = "0";
    a = "9.0";
    f = "10.0";
  };
in
if gpu == null then
  unknown text
else if lib.versionOlder gpu.capability suffixFloor.${suffix} then
  throw "\"${text}\": only compute capability ${suffixFloor.${suffix}} and later have ${suffix}-specific code; write ${gpu.name}"
else
  gpu
  // {
    name = gpu.name + suffix;
    target = gpu.capability + suffix + lib.optionalString hasPtx "+PTX";
  }
