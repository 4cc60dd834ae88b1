{
  description = "nixpkgs' interface over the official PyTorch wheels, for machines that cannot reach nixpkgs";

  outputs =
    _:
    let
      lib = import ./lib.nix;
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" ] (system: import ./. { inherit system; });
    };
}
