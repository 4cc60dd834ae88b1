{
  lib,
  hardware,
  nearest,
}:

let
  bare = text: lib.replaceStrings [ "-" "_" "." " " ] [ "" "" "" "" ] (lib.toLower text);
in
/**
  Read a CPU instruction set in any spelling: `avx512`, `AVX-512`, `avx512_bf16`, `armv8.2`.

  # Type

  ```
  parseCpu :: String -> { name, title, flags, disable, without, cpuinfo, ... }
  ```

  # Example

  ```nix
  (parseCpu "AVX-512").name
  => "avx512"
  ```
*/
text:
lib.findFirst (cpu: bare cpu.name == bare text)
  (throw "\"${text}\" is no CPU instruction set in lib/hardware.toml; nearest: ${
    lib.concatStringsSep ", " (nearest 3 text (lib.attrNames hardware.cpus))
  }")
  (lib.attrValues hardware.cpus)
