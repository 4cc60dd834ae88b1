{ stdenv, debianSources, torchLibraries }:

# PyTorch's source with Debian's patches, made to build where nothing of Debian's is installed, and with CUDA 13.
stdenv.mkDerivation {
  pname = "pytorch-source";
  inherit (debianSources.pytorch) version;
  interpreter = "python3";
  src = debianSources.pytorch;
  debian = debianSources.pytorch-debian;
  buildCommand = ''
    mkdir source
    tar -xf "$src" -C source --strip-components 1
    tar -xf "$debian" -C source
    cd source
    # Not these: they want the machine's own httplib and /usr/include, the version's end, and CUDA's old header of nvtx.
    grep -v -E '1050-use-system-httplib|2000-version|2080-fix-aten-config|2300-torch-cuda-no-use-nvtx3' debian/patches/series |
      while read -r patch; do
        patch --quiet -p1 <"debian/patches/$patch"
      done
    $interpreter ${./adapt.py} . ${torchLibraries.headers} ${./cub_names.cuh}
    cd ..
    mv source "$out"
  '';
}
