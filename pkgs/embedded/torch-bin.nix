{
  lib,
  python,
  buildPythonPackage,
  fetchWheel,
  pin,
  gpuTargets,
}:

# The official CUDA wheel as it is.
buildPythonPackage {
  pname = "torch";
  inherit (pin) version;
  format = "wheel";
  src = fetchWheel (
    pin
    // {
      inherit python;
      pname = "torch";
    }
  );
  dependencies = map (dependency: python.pkgs.${dependency}) (pin.requires ++ [ "numpy" ]);

  # The targets that the wheel has code for; a compiled torch has no such limit.
  passthru.wheelTargets = gpuTargets;
  meta = {
    description = "PyTorch: the official wheel";
    homepage = "https://pytorch.org/";
    # Its libtorch_cpu has MKL in it.
    license = [
      lib.licenses.bsd3
      lib.licenses.issl
    ];
  };
}
