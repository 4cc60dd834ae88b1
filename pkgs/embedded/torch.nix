{
  lib,
  python,
  torch-bin,
  cudaPackages,
  # Comes with the flake's overlay: the retargeting is its own code, not this set's.
  pytorch-variants ? throw "the embedded torch is retargeted by pytorch-variants: apply the flake's overlays.default",

  cudaSupport ? false,
  gpuTargets ? [ ],
}:

# The official CUDA wheel. With gpuTargets its GPU code is cut down to these, as a compiled torch's would be.
if !cudaSupport then
  torch-bin.overrideAttrs {
    src = throw "the official PyTorch ${torch-bin.version} wheel is built for CUDA: take a GPU variant, or a nixpkgs that compiles";
  }
else
  torch-bin.overrideAttrs (old: {
    postInstall =
      lib.optionalString (gpuTargets != [ ]) (
        pytorch-variants.retarget {
          directory = "$out/${python.sitePackages}/torch";
          gpus = gpuTargets;
        }
      )
      + old.postInstall;
    passthru = old.passthru // {
      inherit cudaPackages cudaSupport;
      origin = "wheel";
    };
  })
