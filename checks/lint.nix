{
  lib,
  runCommand,
  deadnix,
  nixfmt,
  statix,
}:

# Nix files are formatted, and nothing in them is unused.
runCommand "lint"
  {
    nativeBuildInputs = [
      deadnix
      nixfmt
      statix
    ];
  }
  ''
    cd ${
      lib.fileset.toSource {
        root = ../.;
        fileset = lib.fileset.unions [
          (lib.fileset.fileFilter (file: file.hasExt "nix") ../.)
          ../statix.toml
        ];
      }
    }
    sh ${./lint.sh}
    touch "$out"
  ''
