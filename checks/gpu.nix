{
  lib,
  runCommand,
  runtime,
  variant,
}:

# The variant verified on a builder with a GPU, as nixpkgs' own gpuCheck derivations are: one that has the
# system feature "cuda" (nix-required-mounts brings the driver into the sandbox).
runCommand "gpu-${variant.variantName or variant.pname}"
  {
    requiredSystemFeatures = lib.optional variant.cudaSupport "cuda";
  }
  ''
    ${runtime}/bin/${runtime.meta.mainProgram} --output "$out"
  ''
