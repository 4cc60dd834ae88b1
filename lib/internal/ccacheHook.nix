/**
  Shell code that puts ccache before PyTorch's compilers, with a cache on the building machine that all
  variants share. It is for `preConfigure`; PyTorch hands the launchers to CMake.

  What two variants share is decided by PyTorch's build: CFLAGS and CXXFLAGS do not reach nvcc, so that the
  variants of one GPU have all their CUDA objects in common, and the variants of one instruction set nearly
  all the others. In detail, and whom one has to trust: docs/builders.md.

  # Type

  ```
  ccacheHook :: { pkgs :: Pkgs, directory :: String, hidden :: [ String ] ? [ ] } -> String
  ```

  # Inputs

  `hidden`
  : options for the C and C++ compilers that ccache does not see, and takes for the same in all variants

  # Example

  ```nix
  ccacheHook { inherit pkgs; directory = "/var/cache/ccache"; }
  => "export CCACHE_DIR=/var/cache/ccache\n…"
  ```
*/
{
  pkgs,
  directory,
  hidden ? [ ],
}:
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
  export CCACHE_COMPILERCHECK="string:${toString hidden} $(command -v c++) $(command -v nvcc) ''${NIX_HARDENING_ENABLE:-} ''${NVCC_PREPEND_FLAGS:-} ''${NVCC_APPEND_FLAGS:-} $(
    printf %s "''${NIX_CFLAGS_COMPILE:-}" | sed -E 's/-(frandom-seed=|isystem +)[^ ]*//g'
  )"
  compiler_options=$(mktemp)
  printf '#!/bin/sh\ncompiler=$1\nshift\nexec "$compiler" ${toString hidden} "$@"\n' >"$compiler_options"
  chmod +x "$compiler_options"
  export CMAKE_C_COMPILER_LAUNCHER="${ccache};prefix_command=$compiler_options"
  export CMAKE_CXX_COMPILER_LAUNCHER="$CMAKE_C_COMPILER_LAUNCHER"
  # By the preprocessor's output alone ccache would take "-Xcompiler -mavx2" and "-Xcompiler -mavx512f" for
  # the same; depend mode compares every argument.
  export CMAKE_CUDA_COMPILER_LAUNCHER="${ccache};depend_mode=true"
''
