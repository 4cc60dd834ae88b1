{ lib }:

/**
  Shell code that ends a build at once where the builder's CPU lacks an instruction set, for `preUnpack`. The build runs
  what it has compiled: code generators, and at its end the import of torch. Hours after its beginning, that would be
  killed by SIGILL. Where there is no /proc/cpuinfo nothing is known, and nothing is done.

  # Type

  ```
  builderHook :: { name :: String, cpu :: Cpu } -> String
  ```

  # Example

  ```nix
  builderHook { name = "pytorch-python313-cpu-avx512"; cpu = parseCpu "avx512"; }
  => "cpu_features=…\nfor feature in avx512f … \n"
  ```
*/
{ name, cpu }:
''
  cpu_features=$(sed -n -E '/^(flags|Features)[[:space:]]*:/ { s/.*:(.*)/\1 /; p; q; }' /proc/cpuinfo 2>/dev/null || true)
  cpu_lacks=
  for feature in ${lib.concatStringsSep " " cpu.cpuinfo}; do
    case "''${cpu_features:- $feature }" in
      *" $feature "*) ;;
      *) cpu_lacks="$cpu_lacks $feature" ;;
    esac
  done
  if [ -n "$cpu_lacks" ]; then
    echo "${name}: this builder's CPU lacks$cpu_lacks, and the build runs code that needs ${cpu.title}: build it on a machine that has it (docs/builders.md)" >&2
    exit 1
  fi
''
