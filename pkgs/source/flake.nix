{
  description = "nixpkgs' interface over Debian's PyTorch source and NVIDIA's compiler, for machines that cannot reach nixpkgs";

  outputs =
    _:
    let
      lib = import ../embedded/lib.nix;
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" ] (system: import ./. { inherit system; });
    };
}
