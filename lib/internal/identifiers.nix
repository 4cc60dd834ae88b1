{ lib }:

/**
  `meta.identifiers` of a package that is another one under a name of its own: a scanner of CVEs looks for the
  project, and would take the name for it.

  # Type

  ```
  identifiers :: Derivation -> AttrSet
  ```

  # Example

  ```nix
  (identifiers pkgs.python3Packages.torch).cpeParts.product
  => "torch"
  ```
*/
package:
let
  given = package.meta.identifiers or { };
in
given
// {
  cpeParts = {
    product = lib.getName package;
  }
  // given.cpeParts or { };
}
