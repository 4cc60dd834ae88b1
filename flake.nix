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
      perSystem = lib.genAttrs systems (
        system:
        import ./pkgs/overNixpkgs.nix {
          inherit nixpkgs system;
          variantsLib = self.lib;
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
      nixosModules.default = ./modules/nixos.nix;
      flakeModules.default = ./modules/flakeParts.nix;
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
      hydraJobs = lib.genAttrs [
        "all"
        "checks"
        "packages"
        "tests"
      ] (kind: lib.mapAttrs (_: outputs: outputs.jobs.${kind}) perSystem);
    };
}
