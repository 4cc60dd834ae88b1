{
  description = "A service on the PyTorch of one GPU and instruction set";

  # The cache of nixpkgs' CUDA builds. Nix takes none from an input: without this all of CUDA is built here.
  # https://github.com/NixOS/nix/issues/6771
  nixConfig = {
    extra-substituters = [ "https://cache.nixos-cuda.org" ];
    extra-trusted-public-keys = [ "cache.nixos-cuda.org:74DUi4Ye579gUqzH4ziL9IyiJBlDpMRn9MBN8oNan9M=" ];
  };

  inputs = {
    pytorch-variants.url = "github:pytorch-variants/pytorch-variants";
    nixpkgs.follows = "pytorch-variants/nixpkgs";
  };

  outputs =
    { nixpkgs, pytorch-variants, ... }:
    let
      system = "x86_64-linux";
      pkgs = import nixpkgs {
        inherit system;
        config = pytorch-variants.lib.nixpkgsConfig { };
        # Whatever needs torch in this package set gets the one for an H100 and AVX-512.
        overlays = [ pytorch-variants.overlays.pytorch-sm90-avx512 ];
      };
      python = pkgs.python3.withPackages (packages: [
        packages.torch
        packages.torchvision
        packages.transformers
      ]);
      inherit (pkgs.python3Packages) torch;
    in
    {
      packages.${system} = {
        default = python;
        # Verifies torch on this machine's GPU.
        verify = torch.verify;
      };
      devShells.${system}.default = pkgs.mkShell { packages = [ python ]; };
      checks.${system} = {
        # Every library of this Python is for that GPU, and there is but one torch.
        verify = torch.verifyEnvironment python;
        imports = pkgs.runCommand "imports" { } ''
          HOME=$TMPDIR ${python}/bin/python -c 'import torch, torchvision, transformers' >"$out"
        '';
      };
    };
}
