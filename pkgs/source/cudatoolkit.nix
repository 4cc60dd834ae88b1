{
  lib,
  stdenv,
  cudaWheels,
}:

# CUDA's wheels as the one directory that compilers and CMake look for. Programs are copied, since nvcc looks for
# its parts beside the file that it is; libraries are links.
stdenv.mkDerivation {
  pname = "cudatoolkit";
  inherit (cudaWheels.nvidia-cuda-nvcc) version;
  programs = [
    cudaWheels.nvidia-cuda-nvcc
    cudaWheels.nvidia-nvvm
  ];
  wheels = lib.attrValues (
    removeAttrs cudaWheels [
      "nvidia-cutlass"
      "nvidia-cudnn-frontend"
    ]
  );
  buildCommand = ''
    mkdir -p "$out/bin" "$out/include" "$out/lib64/stubs" "$out/nvvm"
    ln -s lib64 "$out/lib"
    for wheel in $programs; do
      for directory in bin nvvm; do
        [ ! -d "$wheel/nvidia/cu13/$directory" ] || cp -r "$wheel/nvidia/cu13/$directory/." "$out/$directory"
        chmod -R u+w "$out/$directory"
      done
    done
    for wheel in $wheels; do
      for part in "$wheel"/nvidia/*; do
        [ ! -d "$part/include" ] || cp -rs "$part/include/." "$out/include"
        chmod -R u+w "$out/include"
        for library in "$part"/lib/*; do
          [ -f "$library" ] || continue
          ln -s "$library" "$out/lib64/"
          name=''${library##*/}
          case $name in
            # Linkers look for the name without a version.
            *.so.*) ln -s "$name" "$out/lib64/''${name%%.so.*}.so" ;;
          esac
        done
      done
    done
    # nvcc looks there by itself, C++ compilers do not.
    for part in cub cuda thrust; do
      ln -s "cccl/$part" "$out/include/$part"
    done
    # The driver is the running machine's; the linker has to be told that there will be one.
    echo | gcc -shared -x c - -o "$out/lib64/stubs/libcuda.so" -Wl,-soname,libcuda.so.1
    ln -s libnvidia-ml.so.1 "$out/lib64/stubs/libnvidia-ml.so"
    echo | gcc -shared -x c - -o "$out/lib64/stubs/libnvidia-ml.so.1" -Wl,-soname,libnvidia-ml.so.1
  '';
}
