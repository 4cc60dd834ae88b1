{ lib }:

/**
  The candidates that are spelled most like a text, nearest first.

  # Type

  ```
  nearest :: Int -> String -> [ String ] -> [ String ]
  ```

  # Example

  ```nix
  nearest 2 "avx521" [ "avx" "avx2" "avx512" "amx" ]
  => [ "avx512" "avx2" ]
  ```
*/
count: text: candidates:
let
  ranked = map (candidate: {
    inherit candidate;
    distance = lib.strings.levenshtein (lib.toLower text) (lib.toLower candidate);
  }) candidates;
in
map (entry: entry.candidate) (lib.take count (lib.sort (a: b: a.distance < b.distance) ranked))
