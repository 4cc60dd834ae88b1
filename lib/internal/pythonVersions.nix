{ lib }:

/**
  The Pythons of a package set for which it has a torch. nixpkgs drops a Python package by package before it drops the
  interpreter, and keeps the names of those that it has dropped, as aliases that throw.

  # Type

  ```
  pythonVersions :: Pkgs -> [ String ]
  ```

  # Example

  ```nix
  pythonVersions pkgs
  => [ "3.12" "3.13" "3.14" "3.15" ]
  ```
*/
pkgs:
let
  cudaSupport = lib.hasSuffix "-linux" pkgs.stdenv.hostPlatform.system;
in
lib.concatMap (
  name:
  let
    torch = pkgs.${name}.pkgs.torch.override { inherit cudaSupport; };
    # The embedded set says itself which of its Pythons the machine lacks, under the name that was asked for.
    probe = if pkgs ? path then torch.drvPath else torch.version;
    version = builtins.tryEval (builtins.seq probe pkgs.${name}.pythonVersion);
  in
  lib.optional (builtins.match "python3[0-9]+" name != null && version.success) version.value
) (lib.attrNames pkgs)
