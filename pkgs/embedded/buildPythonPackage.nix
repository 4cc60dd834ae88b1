{
  lib,
  stdenv,
  python,
}:

# A wheel, a source archive or a source tree, installed by pip and byte-compiled: whoever imports it as root must not
# write into the store.
{
  pname,
  version,
  src,
  dependencies ? [ ],
  build-system ? [ ],
  passthru ? { },
  ...
}@args:
stdenv.mkDerivation (
  removeAttrs args [
    "build-system"
    "dependencies"
    "format"
    "pyproject"
    "pythonImportsCheck"
  ]
  // {
    namePrefix = "python${python.pythonVersion}-";
    inherit (python) interpreter;

    PYTHONPATH = lib.concatMapStringsSep ":" (
      package: "${package}/${python.sitePackages}"
    ) build-system;
    buildCommand = ''
      phase unpacking
      site=$out/${python.sitePackages}
      # A wheel has to go by its own name, and a source tree has to be writable.
      if [ -f "$src" ]; then
        wheel=$(basename "$src")
        ln -s "$src" "./''${wheel#*-}"
        src=./''${wheel#*-}
      else
        cp -r "$src" source
        chmod -R u+w source
        src=./''${sourceRoot:-source}
      fi
      $interpreter -m pip install \
        --quiet --disable-pip-version-check --no-cache-dir --root-user-action ignore \
        --no-deps --no-index --no-build-isolation --no-compile --target "$site" "$src"
    '';
    propagatedBuildInputs = dependencies;
    postInstall = (args.postInstall or "") + ''
      mkdir -p "$out/nix-support"
      echo "$propagatedBuildInputs" >"$out/nix-support/propagated-build-inputs"
      # A few packages ship templates that end in .py and are no Python.
      $interpreter -m compileall -q -j0 --invalidation-mode unchecked-hash \
        -s "$out" "$site" >compileall.log || cat compileall.log >&2
    '';

    passthru = passthru // {
      inherit dependencies;
      pythonModule = python;
    };
  }
)
