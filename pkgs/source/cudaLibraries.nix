{
  stdenv,
  cudaWheels,
  names,
  version,
}:

# CUDA's libraries in one directory, as pip would have them: each looks for the others beside itself ($ORIGIN), and
# the loader takes the directory of the link for that.
stdenv.mkDerivation {
  pname = "cuda-libraries";
  inherit version;
  wheels = map (name: cudaWheels.${name}) names;
  buildCommand = ''
    mkdir -p "$out/lib"
    for wheel in $wheels; do
      ln -s "$wheel"/nvidia/*/lib/*.so* "$out/lib"
    done
  '';
}
