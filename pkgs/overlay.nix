# Adds the Python package pytorch-variants to every Python of a package set.
_: prev: {
  pythonPackagesExtensions = (prev.pythonPackagesExtensions or [ ]) ++ [
    (final: _: { pytorch-variants = final.callPackage ./pytorch-variants.nix { }; })
  ];
}
