{ stdenv }:

/**
  A variant without its code: configured, linked and installed whole, with an empty object in place of each that
  takes time to compile. In a minute it shows what the last minutes of a build would: whether every link finds its
  libraries, in their order, whether these find each other, and whether all that is installed is there.

  # Type

  ```
  skeleton :: Derivation -> Derivation
  ```

  # Example

  ```nix
  legacyPackages.x86_64-linux.pytorch-sm90-avx512.skeleton
  => «derivation python3.11-pytorch-python311-cuda13_0-sm90-avx512-2.6.0»
  ```
*/
let
  # CMake puts it before each compiler, as it would put a compiler cache.
  launcher = stdenv.mkDerivation {
    name = "empty-objects";
    buildCommand = ''
      mkdir "$out"
      echo | gcc -c -fPIC -x c - -o "$out/empty.o"
      echo 'int main(void) { return 0; }' | gcc -c -x c - -o "$out/main.o"
      cp ${./empty_objects.sh} "$out/launcher"
      chmod +x "$out/launcher"
    '';
  };
in
variant:
variant.overrideAttrs (old: {
  # Nothing of it is run.
  preUnpack = "";
  preBuild = ''
    for language in C CXX CUDA; do
      export CMAKE_''${language}_COMPILER_LAUNCHER=${launcher}/launcher
    done
  ''
  + old.preBuild;
})
