# The packages for whoever uses no flakes: nix-build -A pytorch-sm90-avx512. With `pkgs`, over that package set; else
# over the nixpkgs that flake.lock pins.
{
  system ? builtins.currentSystem,
  pkgs ? null,
}:

let
  inherit (builtins.fromJSON (builtins.readFile ./flake.lock)) nodes root;
  inherit (nodes.${nodes.${root}.inputs.nixpkgs}) locked;
  # The flake's own input has the same hash and name, and so the same store path.
  nixpkgs = fetchTarball {
    url = "https://github.com/${locked.owner}/${locked.repo}/archive/${locked.rev}.tar.gz";
    sha256 = locked.narHash;
  };

  packageSet = if pkgs == null then import nixpkgs { inherit system; } else pkgs;
  variantsLib = import ./lib { inherit (packageSet) lib; };
  extended = pkgs.extend (import ./pkgs/overlay.nix);
  outputs =
    if pkgs == null then
      import ./pkgs/overNixpkgs.nix { inherit nixpkgs system variantsLib; }
    else
      import ./pkgs {
        inherit variantsLib;
        pkgs = extended;
        cudaPkgs = extended;
      };
in
# Without -A Nix builds all attributes, unless what it is given is a derivation itself.
removeAttrs outputs.packages.default [ "lib" ]
// outputs.all
// outputs.packages
// {
  inherit (outputs) checks devShells;
}
