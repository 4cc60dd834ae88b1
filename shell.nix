# The shells for whoever uses no flakes: nix-shell, or nix-shell -A pytorch-sm80-avx2.
{
  system ? builtins.currentSystem,
  pkgs ? null,
}:

let
  inherit (import ./. { inherit system pkgs; }) devShells;
in
devShells.default // devShells
