{
  description = "A project on the PyTorch of one GPU and instruction set";

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
        config =
          { pkgs, ... }:
          {
            # As in nixpkgs' own CUDA builds, or their binary cache lacks some of what torch depends on.
            cudaSupport = true;
            # Nothing unfree but CUDA.
            allowUnfreePredicate = pkgs._cuda.lib.allowUnfreeCudaPredicate;
          };
        # Whatever needs torch in this package set gets the one for an H100 and AVX-512.
        overlays = [ pytorch-variants.overlays.pytorch-sm90-avx512 ];
      };
      python = pkgs.python3.withPackages (packages: [
        packages.torch
        packages.torchvision
      ]);
    in
    {
      packages.${system}.default = python;
      devShells.${system}.default = pkgs.mkShell { packages = [ python ]; };
      checks.${system}.verify = pkgs.python3Packages.torch.tests.verify;
    };
}
