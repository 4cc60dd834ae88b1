{
  stdenv,
  debianSources,
  cmake,
  ninja,
  patchelf,
}:

# What PyTorch links and includes of others, without any variant's flags: once for all of them.
let
  # A static library, for the variant's shared ones.
  cmakeLibrary =
    {
      pname,
      cmakeFlags,
      subdirectory ? ".",
      prepare ? "",
    }:
    stdenv.mkDerivation {
      inherit pname;
      inherit (debianSources.${pname}) version;
      src = debianSources.${pname};
      cmakeFlags = [
        "-DCMAKE_BUILD_TYPE=Release"
        "-DCMAKE_POSITION_INDEPENDENT_CODE=ON"
        "-DCMAKE_INSTALL_LIBDIR=lib"
        "-DCMAKE_POLICY_VERSION_MINIMUM=3.5"
        "-DBUILD_SHARED_LIBS=OFF"
      ]
      ++ cmakeFlags;
      buildCommand = ''
        mkdir source
        tar -xf "$src" -C source --strip-components 1
        cd source
        ${prepare}
        # Without a network CMake's downloads fail late; with one they are not what is pinned.
        ${cmake}/bin/cmake -G Ninja -DCMAKE_MAKE_PROGRAM=${ninja}/bin/ninja -DFETCHCONTENT_FULLY_DISCONNECTED=ON \
          -S ${subdirectory} -B build $cmakeFlags -DCMAKE_INSTALL_PREFIX="$out" >log || { cat log >&2; exit 1; }
        ${ninja}/bin/ninja -C build -j "$NIX_BUILD_CORES" install >log || { cat log >&2; exit 1; }
      '';
    };

  unpackDebs =
    name: debs: buildCommand:
    stdenv.mkDerivation {
      inherit name buildCommand;
      debs = map (deb: debianSources.${deb}) debs;
    };
in
rec {
  # FXdiv, FP16, PSimd and the rest are headers alone.
  headers =
    unpackDebs "pytorch-headers"
      [
        "fp16"
        "fxdiv"
        "psimd"
        "flatbuffers"
        "nlohmann-json"
        "eigen"
      ]
      ''
        mkdir unpacked
        for deb in $debs; do
          dpkg-deb --extract "$deb" unpacked
        done
        mkdir "$out"
        mv unpacked/usr/include "$out"
        mv "$out"/include/eigen3/* "$out/include"
      '';

  # Without a network library of the machine's: its Fortran run time comes along.
  openblas =
    unpackDebs "openblas-${debianSources.openblas.version}"
      [
        "openblas"
        "openblas-dev"
        "gfortran"
        "quadmath"
      ]
      ''
        for deb in $debs; do
          dpkg-deb --extract "$deb" unpacked
        done
        mkdir -p "$out/lib" "$out/include"
        cp unpacked/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0 unpacked/usr/lib/x86_64-linux-gnu/*.so.? "$out/lib"
        cp unpacked/usr/include/x86_64-linux-gnu/openblas-pthread/*.h "$out/include"
        ln -sf libopenblas.so.0 "$out/lib/libopenblas.so"
        # It needs the Fortran run time, which needs the other: who loads it cannot know.
        for library in "$out"/lib/*.so.?; do
          ${patchelf}/bin/patchelf --set-rpath "$out/lib" "$library"
        done
      '';

  protobuf = cmakeLibrary {
    pname = "protobuf";
    cmakeFlags = [
      "-Dprotobuf_BUILD_TESTS=OFF"
      "-Dprotobuf_WITH_ZLIB=OFF"
    ];
  };

  onnx = cmakeLibrary {
    pname = "onnx";
    cmakeFlags = [
      "-DONNX_ML=ON"
      "-DONNX_USE_PROTOBUF_SHARED_LIBS=OFF"
      "-DONNX_BUILD_TESTS=OFF"
      "-DProtobuf_ROOT=${protobuf}"
      "-DCMAKE_PREFIX_PATH=${protobuf}"
      "-DONNX_CUSTOM_PROTOC_EXECUTABLE=${protobuf}/bin/protoc"
    ];
  };

  sleef = cmakeLibrary {
    pname = "sleef";
    cmakeFlags = [
      "-DSLEEF_BUILD_TESTS=OFF"
      "-DSLEEF_BUILD_DFT=OFF"
      "-DSLEEF_BUILD_QUAD=OFF"
      # It would be downloaded.
      "-DSLEEF_ENABLE_TLFLOAT=OFF"
    ];
  };

  cpuinfo = cmakeLibrary {
    pname = "cpuinfo";
    cmakeFlags = [
      "-DCPUINFO_BUILD_TOOLS=OFF"
      "-DCPUINFO_BUILD_UNIT_TESTS=OFF"
      "-DCPUINFO_BUILD_MOCK_TESTS=OFF"
      "-DCPUINFO_BUILD_BENCHMARKS=OFF"
      "-DCPUINFO_LIBRARY_TYPE=static"
    ];
  };

  pthreadpool = cmakeLibrary {
    pname = "pthreadpool";
    cmakeFlags = [
      "-DPTHREADPOOL_BUILD_TESTS=OFF"
      "-DPTHREADPOOL_BUILD_BENCHMARKS=OFF"
      "-DPTHREADPOOL_LIBRARY_TYPE=static"
      "-DFXDIV_SOURCE_DIR=../fxdiv"
    ];
    # Its build adds FXdiv's as a subdirectory, of which the headers' package has none.
    prepare = ''
      mkdir ../fxdiv
      cat >../fxdiv/CMakeLists.txt <<'CMAKE'
      add_library(fxdiv INTERFACE)
      target_include_directories(fxdiv INTERFACE ${headers}/include)
      CMAKE
    '';
  };

  fmt = cmakeLibrary {
    pname = "fmt";
    cmakeFlags = [
      "-DFMT_TEST=OFF"
      "-DFMT_DOC=OFF"
    ];
  };
}
