{ lib }:

/**
  Flake checks that build the verification report of some variants, `verify-<name>` each. With `gpu`, also
  `gpu-<name>`, which compute on a GPU: they need a builder with the system feature "cuda".

  # Type

  ```
  mkChecks :: { variants :: AttrSet Derivation, gpu :: Bool ? false } -> AttrSet Derivation
  ```

  # Example

  ```nix
  checks.x86_64-linux = pytorch-variants.lib.mkChecks {
    variants = { inherit (pytorch-variants.packages.x86_64-linux) pytorch-sm80-avx2 pytorch-sm90-avx512; };
  };
  => { verify-pytorch-sm80-avx2 = «derivation …»; verify-pytorch-sm90-avx512 = «derivation …»; }
  ```
*/
{
  variants,
  gpu ? false,
}:
lib.mapAttrs' (
  name: variant:
  lib.nameValuePair "verify-${name}" (
    variant.tests.verify
      or (throw "mkChecks: ${name} is no variant: write one, as in packages.pytorch-sm90-avx512")
  )
) variants
// lib.optionalAttrs gpu (
  lib.mapAttrs' (name: variant: lib.nameValuePair "gpu-${name}" variant.tests.gpu) variants
)
