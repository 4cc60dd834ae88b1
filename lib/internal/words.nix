{ lib }:

/**
  The words of a text: letters are one, digits another. So a product is found by whole words and with or without
  the space: "RTX4090" is an "RTX 4090", and an "A100" no "A10".

  # Type

  ```
  words :: String -> [ String ]
  ```

  # Example

  ```nix
  words "NVIDIA H100-SXM5_80GB"
  => [ "nvidia" "h" "100" "sxm" "5" "80" "gb" ]
  ```
*/
text:
lib.concatLists (lib.filter lib.isList (builtins.split "([a-z]+|[0-9]+)" (lib.toLower text)))
