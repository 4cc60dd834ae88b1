{ lib }:

/**
  Some packages of a Python scope, rebuilt on another torch: those named, and between them whatever of
  them needs torch. The result is what a whole scope with that torch (`variant.pythonPackages`) gives, at a
  hundredth of its cost in evaluation, provided that every package that leads to torch is named.

  # Type

  ```
  withTorch :: Scope -> [ String ] -> Derivation -> AttrSet Derivation
  ```

  # Example

  ```nix
  (withTorch pkgs.python3Packages [ "torchvision" ] variant).torchvision
  => «derivation python3.13-torchvision-0.27.0»
  ```
*/
scope: names: torch:
lib.fix (
  self:
  {
    inherit torch;
  }
  // lib.genAttrs names (
    name:
    scope.${name}.override (builtins.intersectAttrs (lib.functionArgs scope.${name}.override) self)
  )
)
