/**
  Shell code that puts ccache before PyTorch's compilers, with a cache on the building machine that all
  variants share. It is for `preConfigure`; PyTorch hands the launchers to CMake.

  What two variants share is decided by PyTorch's build: CFLAGS and CXXFLAGS do not reach nvcc, so that the
  variants of one GPU have all their CUDA objects in common, and the variants of one instruction set nearly
  all the others. In detail, and whom one has to trust: docs/builders.md.

  # Type

  ```
  ccacheHook :: Pkgs -> String -> String
  ```

  # Example

  ```nix
  ccacheHook pkgs "/var/cache/ccache"
  => "export CCACHE_DIR=/var/cache/ccache\n…"
  ```
*/
pkgs: directory:
let
  ccache = "${
    pkgs.ccache
      or (throw "compilerCache needs a nixpkgs that compiles, and this package set does not: leave it out")
  }/bin/ccache";
in
''
  export CCACHE_DIR="${directory}"
  if [ ! -d "$CCACHE_DIR" ] || [ ! -w "$CCACHE_DIR" ]; then
    echo "compilerCache: $CCACHE_DIR is not a directory that $(id -un) can write to in this build: make it for the group of the build users and name it in extra-sandbox-paths" >&2
    exit 1
  fi
  export CCACHE_UMASK=007
  # Every file of the store has the same time, which is what ccache tells compilers by. These are wrappers,
  # too, and take flags from the environment; a random seed and where headers are is no matter.
  export CCACHE_COMPILERCHECK="string:$(command -v c++) $(command -v nvcc) ''${NIX_HARDENING_ENABLE:-} ''${NVCC_PREPEND_FLAGS:-} ''${NVCC_APPEND_FLAGS:-} $(
    printf %s "''${NIX_CFLAGS_COMPILE:-}" | sed -E 's/-(frandom-seed=|isystem +)[^ ]*//g'
  )"
  export CMAKE_C_COMPILER_LAUNCHER=${ccache} CMAKE_CXX_COMPILER_LAUNCHER=${ccache}
  # By the preprocessor's output alone ccache would take "-Xcompiler -mavx2" and "-Xcompiler -mavx512f" for
  # the same; depend mode compares every argument.
  export CMAKE_CUDA_COMPILER_LAUNCHER="${ccache};depend_mode=true"
''
