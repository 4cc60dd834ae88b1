{
  description = "The PyTorch that a machine's hardware needs, one package per GPU architecture and CPU instruction set, and proof that it is";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      variantsLib = import ./lib { inherit lib; };
      eachSystem = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];
      pkgsFor = eachSystem (
        system:
        import nixpkgs {
          inherit system;
          # Nothing unfree but CUDA, as nixpkgs' own CUDA builds have it.
          config = { pkgs, ... }: { allowUnfreePredicate = pkgs._cuda.lib.allowUnfreeCudaPredicate; };
          overlays = [ self.overlays.default ];
        }
      );
      variantsFor = eachSystem (system: import ./pkgs { inherit variantsLib; pkgs = pkgsFor.${system}; });
    in
    {
      lib = variantsLib;
      overlays.default = import ./pkgs/overlay.nix;
      packages = eachSystem (system: variantsFor.${system}.packages);
      legacyPackages = eachSystem (system: variantsFor.${system}.all);
      checks = eachSystem (system: import ./checks { pkgs = pkgsFor.${system}; variants = variantsFor.${system}; });
    };
}
