{
  description = "The PyTorch that a machine's hardware needs, one package per GPU architecture and CPU instruction set, and proof that it is";

  nixConfig = {
    extra-substituters = [ "https://cache.nixos-cuda.org" ];
    extra-trusted-public-keys = [ "cache.nixos-cuda.org:74DUi4Ye579gUqzH4ziL9IyiJBlDpMRn9MBN8oNan9M=" ];
  };

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs =
    { self, nixpkgs }:
    let
      inherit (nixpkgs) lib;
      # The embedded package set has fewer systems than nixpkgs.
      systems = lib.intersectLists [
        "x86_64-linux"
        "aarch64-linux"
        "aarch64-darwin"
      ] (lib.attrNames nixpkgs.legacyPackages);
      nixpkgsFor =
        system: cudaSupport:
        import nixpkgs {
          inherit system;
          config = self.lib.nixpkgsConfig { inherit cudaSupport; };
          overlays = [ self.overlays.default ];
        };
      perSystem = lib.genAttrs systems (
        system:
        import ./pkgs {
          variantsLib = self.lib;
          pkgs = nixpkgsFor system false;
          cudaPkgs = nixpkgsFor system true;
        }
      );
      output = name: lib.mapAttrs (_: outputs: outputs.${name}) perSystem;
    in
    {
      lib = import ./lib { inherit lib; };
      overlays = {
        default = import ./pkgs/overlay.nix;
      }
      // lib.mapAttrs (_: self.lib.mkOverlay) self.lib.variants;
      templates.default = {
        path = ./templates/default;
        description = "A project with the PyTorch of one GPU and instruction set";
      };

      packages = output "packages";
      legacyPackages = output "all";
      devShells = output "devShells";
      checks = output "checks";
      apps = output "apps";
      formatter = lib.filterAttrs (_: formatter: formatter != null) (output "formatter");
      hydraJobs = { inherit (self) packages checks; };
    };
}
