{ lib, words }:

let
  spaced = text: " ${lib.concatStringsSep " " (words text)} ";
in
/**
  Whether the words of one text have those of another among them, in a row.

  # Type

  ```
  mentions :: String -> String -> Bool
  ```

  # Example

  ```nix
  mentions "NVIDIA GeForce RTX4090" "RTX 4090"
  => true
  mentions "A100" "A10"
  => false
  ```
*/
text: part:
lib.hasInfix (spaced part) (spaced text)
