{
  lib,
  python,
  buildPythonPackage,
  fetchWheel,
  cudaPackages,
  pin,
  pins,
  # Comes with the flake's overlay: the retargeting is its own code, not this set's.
  pytorch-variants ?
    throw "the embedded torch is retargeted by pytorch-variants: apply the flake's overlays.default",

  cudaSupport ? false,
  gpuTargets ? [ ],
}:

# The official CUDA wheel. With gpuTargets its GPU code is cut down to these, as a compiled torch's would be.
let
  retarget = lib.optionalString (gpuTargets != [ ]) ''
    ${python.withPackages (_: [ pytorch-variants ])}/bin/pytorch-variants retarget \
      "$site/torch" --in-place ${lib.concatMapStringsSep " " (target: "--gpu ${target}") gpuTargets}
  '';
in
buildPythonPackage {
  pname = "torch";
  inherit (pin) version;
  format = "wheel";
  src =
    if cudaSupport then
      fetchWheel (
        pin
        // {
          inherit python;
          pname = "torch";
        }
      )
    else
      throw "the official PyTorch ${pin.version} wheel is built for CUDA: take a GPU variant, or a nixpkgs that compiles";
  dependencies = map (dependency: python.pkgs.${dependency}) (pin.requires ++ [ "numpy" ]);
  postInstall = retarget;

  passthru = {
    inherit cudaPackages cudaSupport;
    # The targets that the wheel has code for; a compiled torch has no such limit.
    wheelTargets = pins.gpuTargets;
    origin = "official wheel${
      lib.optionalString (gpuTargets != [ ]) ", retargeted"
    }; CPU flags not applied (the wheel dispatches at run time)";
  };
  meta.description = "PyTorch: the official wheel";
}
