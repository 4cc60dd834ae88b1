{
  lib,
  python,
  buildPythonPackage,
  setuptools,
  capstone,
  click,
  lz4,
  nvidia-ml-py,
  packaging,
  rich,
  zstandard,
  # What `lock update` makes new pins with. Verification needs none of it, and with nix-prefetch-github comes Nix.
  withPins ? false,
  nix-prefetch-github,
  pip,
}:

let
  package = buildPythonPackage {
    pname = "pytorch-variants";
    # Where Python itself has it.
    version = lib.head (
      builtins.match ".*\n__version__ = \"([^\"]+)\"\n.*" (
        builtins.readFile ../pyhelpers/src/pytorch_variants/__init__.py
      )
    );
    pyproject = true;

    # The hardware table and the licence are linked into the Python package, so both have to be in the source.
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
          "LICENSE"
          "pyhelpers"
          "pyhelpers/LICENSE"
          "pyhelpers/README.md"
          "pyhelpers/pyproject.toml"
        ]
        # Tools leave both in a clone, and Git ignores them: a build has to be the same with and without.
        || (
          lib.hasPrefix "pyhelpers/src" relative
          && !lib.hasInfix "__pycache__" relative
          && !lib.hasInfix ".egg-info" relative
        );
    };
    sourceRoot = "source/pyhelpers";

    build-system = [ setuptools ];
    dependencies = [
      capstone
      click
      lz4
      nvidia-ml-py
      packaging
      rich
      zstandard
    ]
    ++ lib.optionals withPins [
      nix-prefetch-github
      pip
    ];
    pythonImportsCheck = [ "pytorch_variants" ];

    /**
      Shell text that cuts the GPU code of an installed wheel down, for a phase after its installation. With
      `compatible`, for a GPU that the wheel is not built for, to what that runs of it.

      # Type

      ```
      retarget :: { directory :: String, gpus :: [ String ], compatible :: Bool ? false } -> String
      ```

      # Example

      ```nix
      retarget { directory = "$out/${python.sitePackages}/torch"; gpus = [ "9.0" ]; }
      => "echo …\n/nix/store/…/bin/pytorch-variants retarget … --in-place --gpu 9.0"
      ```
    */
    passthru.retarget =
      {
        directory,
        gpus,
        compatible ? false,
      }:
      # The phase is for Nix' own progress and for ./run's.
      "echo '@nix {\"action\":\"setPhase\",\"phase\":\"cutting\"}'\n${
        python.withPackages (_: [ package ])
      }/bin/pytorch-variants retarget \"${directory}\" --in-place ${
        lib.concatMapStringsSep " " (gpu: "--gpu ${gpu}") gpus
      }${lib.optionalString compatible " --compatible"}\n";

    meta = {
      description = "Architecture lookups, wheel retargeting and CUDA verification for PyTorch variants";
      mainProgram = "pytorch-variants";
      license = lib.licenses.mit;
      maintainers = import ./maintainers.nix;
    };
  };
in
package
