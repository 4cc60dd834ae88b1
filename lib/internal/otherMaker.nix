{
  lib,
  hardware,
  words,
}:

/**
  Whose GPU a text names, and what to do instead, where no GPU of the table is meant; `null` where no other maker's is either.
  pytorch_variants.hardware.spelling.other_maker is the same in Python.

  # Type

  ```
  otherMaker :: String -> Null | String
  ```

  # Example

  ```nix
  otherMaker "Radeon RX 7900"
  => "AMD's, and this project is for NVIDIA's GPUs: write one of those, or use nixpkgs' torchWithRocm or PyTorch's ROCm wheels"
  otherMaker "RTX 9990"
  => null
  ```
*/
text:
let
  # More than any name has.
  said = " ${lib.concatStringsSep " " (words (lib.substring 0 64 text))} ";
  maker = lib.findFirst (maker: builtins.match maker.names said != null) null hardware.makers;
in
if maker == null then
  null
else
  "${maker.name}'s, and this project is for NVIDIA's GPUs: write one of those, or use ${maker.instead}"
