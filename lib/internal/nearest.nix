{
  lib,
  editDistance,
  mentions,
}:

/**
  The candidates that a text is nearest to. First those that have its words among their own, the shortest first: "4000"
  is a part of "RTX 4000". Then those that fewest mistakes lead to, whatever the case; of these, the ones that begin like
  it the longest. What is equal in all this comes in the order of its letters. pytorch_variants.hardware.spelling.nearest is the same in Python.

  # Type

  ```
  nearest :: Int -> String -> [ String ] -> [ String ]
  ```

  # Example

  ```nix
  nearest 2 "avx521" [ "avx" "avx2" "avx512" "amx" ]
  => [ "avx512" "avx2" ]
  nearest 2 "4000" [ "RTX 4000 Ada" "RTX 4000" "4090" ]
  => [ "RTX 4000" "RTX 4000 Ada" ]
  ```
*/
count: text: candidates:
let
  # More than any candidate has: of a whole message that was pasted the rest is no help.
  start = lib.toLower (lib.substring 0 64 text);
  sharedStart =
    lower:
    lib.length (
      lib.filter (end: lib.hasPrefix (lib.substring 0 end lower) start) (
        lib.genList (i: i + 1) (lib.stringLength lower)
      )
    );
  rank =
    name:
    let
      lower = lib.toLower name;
    in
    if mentions name text then
      [
        0
        (lib.stringLength name)
        0
        name
      ]
    else
      [
        1
        (editDistance start lower)
        (0 - sharedStart lower)
        name
      ];
  unique = lib.attrNames (lib.genAttrs candidates (_: null));
  # Lists are compared from left to right.
  ranked = lib.sort builtins.lessThan (map rank unique);
in
map lib.last (lib.take count ranked)
