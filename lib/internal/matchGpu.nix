{
  lib,
  hardware,
  mentions,
  words,
}:

let
  gpus = lib.attrValues hardware.gpus;

  byCapability =
    digits: lib.findFirst (gpu: lib.replaceStrings [ "." ] [ "" ] gpu.capability == digits) null gpus;

  # "Ada" of "Ada Lovelace"
  generation = gpu: lib.head (lib.splitString " " gpu.architecture);
  products = lib.concatMap (gpu: map (product: { inherit gpu product; }) gpu.products) gpus;

  # The words that tell products of the same number apart, as "ti" and "super" those of RTX: an "RTX 4090 Ti" is
  # no RTX 4090. Whether "Ada" is right says its generation.
  marks =
    product:
    let
      series = lib.head (words product);
      isNumber = word: builtins.match "[0-9]+" word != null;
      ends = map lib.last (
        lib.filter (named: lib.head named == series && lib.any isNumber named) (
          map (entry: words entry.product) products
        )
      );
      saysGeneration = word: lib.any (gpu: lib.toLower (generation gpu) == word) gpus;
    in
    lib.filter (end: builtins.match "[a-z]+" end != null && !saysGeneration end) ends;

  byProduct =
    text:
    let
      generations = lib.filter (mentions text) (map generation gpus);
      # "RTX 6000 Blackwell" is none of Turing's.
      possible = lib.filter (entry: lib.all (named: named == generation entry.gpu) generations) products;
      mentioned = lib.filter (entry: mentions text entry.product) possible;
      # Four digits are no compute capability: "4090" is an "RTX 4090" and an "RTX 4090 D".
      numbered = lib.optionals (builtins.match "[0-9]{4}" (toString (lib.take 1 (words text))) != null) (
        lib.filter (entry: mentions entry.product text) possible
      );
      lengthOf = entry: lib.stringLength entry.product;
      # "RTX 6000 Ada" is the longer name, so no "RTX 6000".
      found =
        if mentioned != [ ] then
          lib.sort (a: b: lengthOf a > lengthOf b) mentioned
        else
          lib.sort (a: b: lengthOf a < lengthOf b) numbered;
      meant = lib.head found;
      others = lib.filter (
        entry: entry.gpu.name != meant.gpu.name && !mentions meant.product entry.product
      ) found;
    in
    if
      found == [ ] || lib.any (mark: mentions text "${meant.product} ${mark}") (marks meant.product)
    then
      null
    else if others != [ ] then
      throw "\"${text}\" names several: ${
        lib.concatMapStringsSep ", " (entry: "${entry.product} (${entry.gpu.name})") ([ meant ] ++ others)
      }; write one of them"
    else
      meant.gpu;
in
/**
  As `parseGpu`, and `null` for what is in no spelling a GPU of the table.

  # Type

  ```
  matchGpu :: String -> Null | { name, target, capability, products, ... }
  ```

  # Example

  ```nix
  (matchGpu "RTX 4090").name
  => "sm89"
  matchGpu "RTX 4090 Ti"
  => null
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
  null
else if lib.versionOlder gpu.capability suffixFloor.${suffix} then
  throw "\"${text}\": only compute capability ${suffixFloor.${suffix}} and later have ${suffix}-specific code; write ${gpu.name}"
else
  gpu
  // {
    name = gpu.name + suffix;
    target = gpu.capability + suffix + lib.optionalString hasPtx "+PTX";
  }
