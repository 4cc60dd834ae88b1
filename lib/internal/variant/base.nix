{
  lib,
  hasTorch,
  specialisedClosure,
  withCuda,
}:

/**
  What a variant is made of: the package set with the wanted CUDA, its Python, and that Python's torch.

  # Type

  ```
  base :: {
    pkgs :: Pkgs,
    pythonPackages :: Null | Scope ? null,
    torch :: Null | Derivation ? null,
  } -> { python, cuda, specialiseClosure, ... } -> { targets, cudaSupport, ... } -> {
    pkgs :: Pkgs,
    interpreter :: Python,
    stock :: Derivation,
  }
  ```

  # Inputs

  `pythonPackages`, `torch`
  : the scope to build in and the torch to override, of an overlay that is about to replace it there
*/
{
  pkgs,
  pythonPackages ? null,
  torch ? null,
}:
settings: named:
let
  inherit (settings) python cuda;
  undotted = lib.replaceStrings [ "." ] [ "" ];

  ofCuda = if cuda == null then pkgs else withCuda pkgs cuda;
  chosen = if settings.specialiseClosure then specialisedClosure ofCuda named.targets else ofCuda;

  attribute = if python == null then "python3" else "python${undotted python}";
  hasOne = hasTorch named.cudaSupport chosen;
  pythons = lib.filter hasOne (lib.attrNames chosen);
  interpreter =
    if pythonPackages != null then
      pythonPackages.python
    # Where no Python has one it is not Python's fault, and torch itself says what it is.
    else if python == null || chosen ? ${attribute} && (hasOne attribute || pythons == [ ]) then
      chosen.${attribute}
    else
      throw "this nixpkgs has no torch for Python ${python}: take one of ${
        lib.concatMapStringsSep ", " (name: chosen.${name}.pythonVersion) pythons
      }";

  given =
    if torch != null then
      torch
    else
      interpreter.pkgs.torch or interpreter.pkgs.pytorch
        or (throw "this nixpkgs has no torch in ${attribute}Packages: take a later one");
in
{
  pkgs = chosen;
  inherit interpreter;
  # Of a package set with an overlay of ours it is a variant already, with another one's flags.
  stock = given.stock or given;
}
