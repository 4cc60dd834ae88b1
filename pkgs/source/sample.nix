/**
  The first minutes of a variant's build, through its own phases: configured whole, then the libraries and CUDA
  files that take little time, installed as its torch/lib would be. What it shows for them it shows of the flags,
  the linking and the patches of all. It is no PyTorch, and nothing can be imported from it.

  # Type

  ```
  sample :: Derivation -> Derivation
  ```

  # Example

  ```nix
  legacyPackages.x86_64-linux.pytorch-sm90-avx512.sample
  => «derivation python3.11-pytorch-python311-cuda13_0-sm90-avx512-2.6.0»
  ```
*/
variant:
variant.overrideAttrs {
  buildCommand = ''
    lib=$out/lib/python/site-packages/torch/lib
    mkdir -p "$lib"
  ''
  + (
    if variant.cudaSupport then
      ''
        # One of each kind: an elementwise kernel, one on CUB's iterators, and the host code of cuFFT's and cuDNN's.
        objects=
        for file in native/cuda/AbsKernel.cu native/cuda/Nonzero.cu native/cuda/SpectralOps.cpp cuda/CUDAGraph.cpp; do
          objects="$objects caffe2/CMakeFiles/torch_cuda.dir/__/aten/src/ATen/$file.o"
        done
        ninja -C build -j "$MAX_JOBS" c10 c10_cuda caffe2_nvrtc $objects
        (cd build && c++ -shared -o lib/libtorch_cuda.so $objects -Llib -lc10_cuda -lc10 -Wl,-rpath,"\$ORIGIN")
      ''
    else
      ''
        ninja -C build -j "$MAX_JOBS" c10
      ''
  )
  + ''
    # Install as CMake does, which sets RUNPATH.
    for part in c10 c10/cuda; do
      [ ! -e "build/$part/cmake_install.cmake" ] || cmake --install "build/$part" --prefix "$out/installed" >/dev/null || :
    done
    cp build/lib/*.so "$lib"
    [ ! -d "$out/installed/lib" ] || cp "$out"/installed/lib/*.so "$lib"
    rm -rf "$out/installed"
    cp build/CMakeCache.txt "$out"
  '';
  postInstall = "";
}
