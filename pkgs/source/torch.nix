{
  lib,
  stdenv,
  python,
  cmake,
  ninja,
  torchLibraries,
  torchSource,
  cudaPackages,
  cudaWheels,
  setuptools,
  pybind11,
  filelock,
  fsspec,
  jinja2,
  networkx,
  numpy,
  pyyaml,
  sympy,
  typing-extensions,

  cudaSupport ? false,
  gpuTargets ? [ ],
}:

# PyTorch compiled from Debian's source, in the order of nixpkgs' recipe: preConfigure, then CMake in preBuild, then
# setup.py. Whoever overrides it may export flags in the former and MAX_JOBS in the latter.
let
  inherit (python) sitePackages;
  libraryPath = [ "${torchLibraries.openblas}/lib" ] ++ lib.optional cudaSupport "${cudaPackages.libraries}/lib";

  dependencies = [
    filelock
    fsspec
    jinja2
    networkx
    numpy
    sympy
    typing-extensions
  ];

  # No source of theirs can be had, or they would double the build.
  leftOut = [
    "DISTRIBUTED"
    "FBGEMM"
    "FLASH_ATTENTION"
    "ITT"
    "KINETO"
    "MAGMA"
    "MEM_EFF_ATTENTION"
    "MKLDNN"
    "MPI"
    "NCCL"
    "NNPACK"
    "NUMA"
    "PYTORCH_QNNPACK"
    "XNNPACK"
    # Never asked for, and found by chance on some machines.
    "CCACHE"
    "CUDSS"
    "CUFILE"
    "CUSPARSELT"
    "ROCM"
    "VULKAN"
    "XPU"
  ];
in
stdenv.mkDerivation (final: {
  pname = "torch";
  inherit (torchSource) version;
  namePrefix = "python${python.pythonVersion}-";
  inherit (python) interpreter;

  # A builder that is root would write into the store of what it imports.
  PYTHONDONTWRITEBYTECODE = "1";
  PYTORCH_BUILD_VERSION = torchSource.version;
  PYTORCH_BUILD_NUMBER = "1";
  PYTHONPATH = lib.concatStringsSep ":" (
    [
      "${setuptools}"
    ]
    ++ map (package: "${package}/${sitePackages}") [
      numpy
      pyyaml
      typing-extensions
    ]
  );
  PYTORCH_RUNPATH = lib.concatStringsSep ";" libraryPath;

  BLAS = "OpenBLAS";
  OpenBLAS_HOME = "${torchLibraries.openblas}";
  ONNX_NAMESPACE = "onnx";
  BUILD_TEST = "0";
  BUILD_CUSTOM_PROTOBUF = "0";
  USE_SYSTEM_LIBS = "1";
  USE_SYSTEM_NVTX = "1";
  CMAKE_PREFIX_PATH = lib.concatStringsSep ":" (
    [ "${pybind11}/pybind11" ] ++ map (library: "${library}") (lib.attrValues torchLibraries)
  );
  # Some of its parts ask for a CMake before 3.5, which CMake 4 refuses without this: https://github.com/pytorch/pytorch/issues/150149
  CMAKE_POLICY_VERSION_MINIMUM = "3.5";

  preConfigure = ''
    export PATH=${cmake}/bin:${ninja}/bin:$PATH
    export MAX_JOBS=$NIX_BUILD_CORES
    # Debian's patches take /usr/include for granted.
    export CPATH=${lib.concatMapStringsSep ":" (library: "${library}/include") (lib.attrValues torchLibraries)}
    export LIBRARY_PATH=${lib.concatMapStringsSep ":" (library: "${library}/lib") (lib.attrValues torchLibraries)}
    ${lib.concatMapStringsSep "\n" (name: "export USE_${name}=0") leftOut}
    cp -r ${torchSource} source
    chmod -R u+w source
    cd source
    # A compiler cache of several builds has one name for what lies in each one's own directory.
    export CCACHE_BASEDIR="$NIX_BUILD_TOP"
  ''
  + (
    if cudaSupport then
      ''
        export USE_CUDA=1 CUDA_HOME=${cudaPackages.cudatoolkit} CUDACXX=${cudaPackages.cudatoolkit}/bin/nvcc
        export PATH=$CUDA_HOME/bin:$PATH CMAKE_PREFIX_PATH=$CUDA_HOME:$CMAKE_PREFIX_PATH
        export CUDNN_ROOT=$CUDA_HOME LIBRARY_PATH=$CUDA_HOME/lib64/stubs:$LIBRARY_PATH
        export TORCH_CUDA_ARCH_LIST='${lib.concatStringsSep ";" gpuTargets}'
        mkdir third_party/cudnn_frontend
        ln -s ${cudaWheels.nvidia-cudnn-frontend}/include third_party/cudnn_frontend/include
        ln -s ${cudaWheels.nvidia-cutlass}/cutlass_library/source third_party/cutlass
      ''
    else
      ''
        export USE_CUDA=0
      ''
  );

  preBuild = ''
    # The machine's compiler keeps its path from one version to the next.
    [ -z "''${CCACHE_COMPILERCHECK:-}" ] || export CCACHE_COMPILERCHECK="$CCACHE_COMPILERCHECK $(c++ -v 2>&1 | tail -n 1)"
    $interpreter setup.py build --cmake-only
  '';

  buildCommand = ''
    # All that fails in one go, since the rest is kept only by a compiler cache.
    ninja -C build -j "$MAX_JOBS" -k 0 install
    $interpreter setup.py install --root=/ --single-version-externally-managed --record=record.txt \
      --prefix="$out" --install-lib="$out/${sitePackages}" --install-scripts="$out/bin" --install-data="$out"
  '';

  postInstall = ''
    site=$out/${sitePackages}
    $interpreter -m compileall -q -j0 --invalidation-mode unchecked-hash -s "$out" "$site" >compileall.log ||
      cat compileall.log >&2
  '';

  passthru = {
    inherit dependencies cudaPackages cudaSupport;
    # Variants have a leftOut of their own, for what their hardware rules out.
    notBuilt = leftOut;
    pythonModule = python;
    sample = import ./sample.nix final.finalPackage;
    skeleton = import ./skeleton.nix { inherit stdenv; } final.finalPackage;
  };
  meta.description = "PyTorch, compiled";
})
