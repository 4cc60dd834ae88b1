/**
  Whether a package set has a torch for one of its Pythons. nixpkgs drops a Python package by package before it drops
  the interpreter, and keeps the names of those that it has dropped, as aliases that throw.

  # Type

  ```
  hasTorch :: Bool -> Pkgs -> String -> Bool
  ```

  # Example

  ```nix
  hasTorch true pkgs "python313"
  => true
  ```
*/
cudaSupport: pkgs: name:
let
  torch = pkgs.${name}.pkgs.torch.override { inherit cudaSupport; };
in
builtins.match "python3[0-9]+" name != null
&& (builtins.tryEval (
  # The embedded set says itself which of its Pythons the machine lacks, and how to get it.
  if pkgs ? path then torch.drvPath else torch.version
)).success
