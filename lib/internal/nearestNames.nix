{
  lib,
  hardware,
  matchGpu,
  nearest,
  parseCpu,
  variants,
}:

let
  attempt =
    value:
    let
      tried = builtins.tryEval value;
    in
    if tried.success then tried.value else null;
  first = lib.findFirst (found: found != null) null;
  versions = "(-python3[0-9]+)?(-cuda[0-9]+_[0-9]+)?";
  wheel = "pytorch(-python3[0-9]+)?-bin${versions}";
  # A table's entry, for a target as "sm90a" has no short name.
  gpuName =
    text:
    let
      gpu = attempt (matchGpu text);
    in
    if gpu == null then
      null
    else
      "sm${lib.replaceStrings [ "." ] [ "" ] gpu.capability}";
in
/**
  The names of variants that a text is nearest to: those of the GPU that it, or a part of it between dashes,
  names in any spelling, with the instruction set at its end, else with the common ones; where it names no
  GPU, those that are spelled most like it. The package, the Python and the CUDA at its start stay. A text that begins
  as an official wheel's name gets such names.

  # Type

  ```
  nearestNames :: String -> [ String ]
  ```

  # Example

  ```nix
  nearestNames "torchvision-rtx4090-AVX-512"
  => [ "torchvision-sm89-avx512" ]
  nearestNames "pytorch-bin-rtx4090"
  => [ "pytorch-bin-sm89" ]
  ```
*/
name:
let
  start = lib.head (
    builtins.match "((${wheel}|(pytorch|torchvision|torchaudio)${versions})?).*" name
  );
  prefix = if start == null then "" else start;
  isWheel = builtins.match wheel prefix != null;
  parts = lib.filter (part: lib.isString part && part != "") (
    builtins.split "[- ]+" (lib.removePrefix prefix name)
  );
  gpu =
    if lib.elem "cpu" parts && !isWheel then
      "cpu"
    else
      first (map gpuName ([ (lib.concatStringsSep " " parts) ] ++ parts));
  endings = parts: lib.optionals (parts != [ ]) ([ parts ] ++ endings (lib.tail parts));
  cpu = first (map (end: attempt (parseCpu (lib.concatStringsSep "-" end)).name) (endings parts));
  sets = lib.filter (set: variants ? "pytorch-${gpu}-${set}") (lib.attrNames hardware.cpus);
  chosen =
    if lib.elem cpu sets then
      [ cpu ]
    else if lib.head parts == gpu && lib.length parts > 1 then
      nearest 3 (lib.concatStringsSep "-" (lib.tail parts)) sets
    else
      lib.filter (set: lib.elem set sets) hardware.common;
in
if isWheel then
  if gpu != null then
    [ "${prefix}-${gpu}" ]
  else
    nearest 3 name (map (gpu: "${prefix}-${gpu}") (lib.attrNames hardware.gpus))
else if gpu == null then
  nearest 3 name (lib.attrNames variants)
else
  map (set: "${if prefix == "" then "pytorch" else prefix}-${gpu}-${set}") chosen
