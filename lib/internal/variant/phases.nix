{
  lib,
  builderHook,
  ccacheHook,
  maxJobsHook,
}:

/**
  What a variant adds to the phases of nixpkgs' recipe: a look at the builder's CPU, flags, components to leave out, a
  compiler cache, a banner for the log, and a bound on the compiler's jobs.

  # Type

  ```
  phases :: { name, pkgs, compilerCache, cpu, cpuFlags, memoryPerJob, leftOut, banner } -> {
    preUnpack :: String,
    preConfigure :: String,
    preBuild :: String,
  }
  ```

  # Inputs

  `leftOut`
  : components of PyTorch, as in `USE_CUDNN`

  `banner`
  : lines of text that the log shows
*/
{
  name,
  pkgs,
  compilerCache,
  cpu,
  cpuFlags,
  memoryPerJob,
  leftOut,
  banner,
}:
let
  # With the flags goes a record of them: GCC writes into each object file with what options it was compiled, and
  # verification reads there that all of a library's had these.
  record = lib.optional (cpuFlags != [ ]) "-frecord-gcc-switches";
  # ccache would take the record for one of the whole command, with the build's directory in it, and share nothing
  # with a build in another: https://github.com/ccache/ccache/issues/937
  flags = toString (lib.optionals (compilerCache == null) record ++ cpuFlags);
in
{
  preUnpack = lib.optionalString (cpuFlags != [ ] && cpu != null) (builderHook {
    inherit name cpu;
  });

  # Exported by the shell, since recipes of different years set the same variables in different ways.
  preConfigure =
    lib.optionalString (cpuFlags != [ ]) ''
      export CFLAGS="''${CFLAGS:-} ${flags}"
      export CXXFLAGS="''${CXXFLAGS:-} ${flags}"
    ''
    + ''
      ${lib.concatMapStringsSep "\n" (component: "export USE_${component}=0") leftOut}
    ''
    + lib.optionalString (compilerCache != null) (ccacheHook {
      inherit pkgs;
      directory = compilerCache;
      hidden = record;
    })
    + ''
      cat <<'BANNER'
      ==================================================================
      ${banner}
      ==================================================================
      BANNER
    '';

  # nixpkgs has set MAX_JOBS to all cores by now. A machine that runs out of memory loses the whole build.
  preBuild = maxJobsHook memoryPerJob;
}
