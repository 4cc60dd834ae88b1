{
  lib,
  buildPythonPackage,
  setuptools,
  capstone,
  nix-prefetch-github,
  nvidia-ml-py,
  packaging,
  pip,
  rich,
  typer,
}:

buildPythonPackage {
  pname = "pytorch-variants";
  inherit ((lib.importTOML ../pyhelpers/pyproject.toml).project) version;
  pyproject = true;

  # The hardware table is linked into the Python package, so both have to be in the source.
  src = lib.cleanSourceWith {
    src = ../.;
    name = "source";
    filter =
      path: _:
      let
        relative = lib.removePrefix "${toString ../.}/" (toString path);
      in
      lib.elem relative [
        "lib"
        "lib/hardware.toml"
        "pyhelpers"
        "pyhelpers/pyproject.toml"
      ]
      || lib.hasPrefix "pyhelpers/src" relative && !lib.hasInfix "__pycache__" relative;
  };
  sourceRoot = "source/pyhelpers";

  build-system = [ setuptools ];
  dependencies = [
    capstone
    nix-prefetch-github
    nvidia-ml-py
    packaging
    pip
    rich
    typer
  ];
  pythonImportsCheck = [ "pytorch_variants" ];

  meta = {
    description = "Architecture lookups, wheel retargeting and CUDA verification for PyTorch variants";
    mainProgram = "pytorch-variants";
    license = lib.licenses.mit or { };
  };
}
