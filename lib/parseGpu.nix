{
  lib,
  hardware,
  nearest,
}:

let
  gpus = lib.attrValues hardware.gpus;

  # "NVIDIA H100-SXM5_80GB" -> " nvidia h 100 sxm 5 80 gb ", so that a product is found by whole words and
  # with or without the space: "RTX4090" is an "RTX 4090", and an "A100" no "A10".
  words =
    text:
    let
      parts = builtins.split "([a-z]+|[0-9]+)" (lib.toLower text);
    in
    " ${lib.concatStringsSep " " (lib.concatLists (lib.filter lib.isList parts))} ";
  mentions = text: part: lib.hasInfix (words part) (words text);

  byCapability =
    digits: lib.findFirst (gpu: lib.replaceStrings [ "." ] [ "" ] gpu.capability == digits) null gpus;

  # "RTX 6000 Ada" is the longer name, so no "RTX 6000"; "RTX 6000 Blackwell" is none of Turing's.
  byProduct =
    text:
    let
      # "Ada" of "Ada Lovelace"
      generation = gpu: lib.head (lib.splitString " " gpu.architecture);
      generations = lib.filter (mentions text) (map generation gpus);
      found = lib.concatMap (
        gpu:
        map (product: { inherit gpu product; }) (
          lib.filter (
            product: mentions text product && lib.all (named: named == generation gpu) generations
          ) gpu.products
        )
      ) gpus;
      longest = lib.head (lib.sort (a: b: lib.stringLength a.product > lib.stringLength b.product) found);
      others = lib.filter (
        entry: entry.gpu.name != longest.gpu.name && !mentions longest.product entry.product
      ) found;
    in
    if found == [ ] then
      null
    else if others != [ ] then
      throw "\"${text}\" names several: ${
        lib.concatMapStringsSep ", " (entry: "${entry.product} (${entry.gpu.name})") ([ longest ] ++ others)
      }; write one of them"
    else
      longest.gpu;

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
