{
  lib,
  mkOverlay,
  nixpkgsConfig,
  parseName,
}:

/**
  What a variant's name asks of a nixpkgs, so that whatever needs torch there gets this one: the configuration, the
  overlay, and which of its Pythons is meant.

  # Type

  ```
  ofName :: String -> {
    cudaSupport :: Bool,
    config :: { pkgs, ... } -> Config,
    overlay :: Overlay,
    python :: Pkgs -> Python,
  }
  ```

  # Example

  ```nix
  with ofName "pytorch-sm90-avx512";
  import nixpkgs { inherit config; overlays = [ overlay ]; }
  ```
*/
name:
let
  named = parseName name;
  cudaSupport = named.gpus != [ ];
in
if named.package != "pytorch" || named.kind != "compiled" then
  throw "${name}: no overlay makes this one of the torch of a package set; write a variant that is compiled, as pytorch-sm90-avx512"
else
  {
    inherit cudaSupport;
    config = nixpkgsConfig { inherit cudaSupport; };
    overlay = mkOverlay {
      inherit (named) cuda;
      cpu = named.cpu.name;
      gpuTargets = map (gpu: gpu.target) named.gpus;
    };
    python =
      pkgs:
      if named.python == null then
        pkgs.python3
      else
        pkgs."python${lib.replaceStrings [ "." ] [ "" ] named.python}"
          or (throw "${name}: this package set has no Python ${named.python}");
  }
