{
  description = "nixpkgs' interface over the official PyTorch wheels, for machines that cannot reach nixpkgs";

  outputs =
    _:
    let
      lib = import ./lib.nix;
      systems = lib.attrNames (
        builtins.groupBy (release: release.system) (lib.importJSON ./wheels.json).releases
      );
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs systems (system: import ./. { inherit system; });
    };
}
