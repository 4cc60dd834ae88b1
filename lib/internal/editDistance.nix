{ lib }:

/**
  How many single mistakes lead from one text to another: a character left out, added, replaced, or swapped with
  its neighbour. (The optimal string alignment distance. nixpkgs' levenshtein takes a swap for two mistakes.)

  # Type

  ```
  editDistance :: String -> String -> Int
  ```

  # Example

  ```nix
  editDistance "avx521" "avx512"
  => 1
  ```
*/
a: b:
let
  bs = lib.stringToCharacters b;
  width = lib.length bs;
  min = x: y: if x < y then x else y;

  # A row of the table of distances: of what `a` begins with, to everything that `b` begins with.
  nextRow =
    state: c:
    let
      row = lib.genList (
        j:
        let
          i = j - 1;
          substituted = lib.elemAt state.row i + (if lib.elemAt bs i == c then 0 else 1);
          shorter = min (lib.elemAt state.row j) (lib.elemAt row i) + 1;
          best = min substituted shorter;
          isSwap = i > 0 && state.c == lib.elemAt bs i && c == lib.elemAt bs (i - 1);
        in
        if j == 0 then
          lib.head state.row + 1
        else if isSwap then
          min best (lib.elemAt state.before (j - 2) + 1)
        else
          best
      ) (width + 1);
    in
    builtins.seq (lib.elemAt row width) {
      inherit c row;
      before = state.row;
    };
  last = lib.foldl' nextRow {
    c = null;
    row = lib.genList (j: j) (width + 1);
    before = null;
  } (lib.stringToCharacters a);
in
lib.elemAt last.row width
