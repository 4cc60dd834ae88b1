{
  lib,
  cudaTargets,
  editDistance,
  hardware,
  mentions,
  nearest,
  nearestCuda,
  nearestNames,
  parseCpu,
  parseGpu,
  parseName,
  problem,
  runsOn,
  suggestion,
  variants,
  words,
}:

# What is wrong with the functions that need no package set, as lib.runTests says it: nothing, if all is well. A check of
# the flake and the test suite both ask. An `expr` has to be what `expected` says.
let
  fails = value: !(builtins.tryEval (builtins.deepSeq value value)).success;
  names = map (gpu: gpu.name);
  targets = map (gpu: gpu.target);

  # The GPUs of the table that run some code.
  runners = code: lib.filter (name: runsOn code hardware.gpus.${name}.capability) (lib.attrNames hardware.gpus);
  cubin = capability: suffix: { kind = "cubin"; inherit capability suffix; };
  ptx = capability: suffix: { kind = "ptx"; inherit capability suffix; };

  # An H100's package set on x86 with CUDA 12.9, and what of it is another.
  context = {
    gpus = [ (parseGpu "sm90") ];
    cpu = parseCpu "avx2";
    system = "x86_64-linux";
    cuda = "12.9";
    cudas = [
      "12.8"
      "12.9"
      "13.0"
    ];
    pytorch = "2.10.0";
    wheelTargets = null;
  };
  problemOf = changes: problem (removeAttrs (context // changes) [ "cudas" ]);
  suggestionFor = changes: suggestion (context // changes);
  wheelOf = [
    "7.5"
    "8.0"
    "8.6"
    "9.0"
  ];
in
lib.runTests {
  # CUDA C++ Programming Guide, "Binary Compatibility": a cubin for X.y runs on X.z, where z is y or more.
  testCubinOfAmpere = {
    expr = runners (cubin "8.0" "");
    expected = [
      "sm80"
      "sm86"
      "sm89"
    ];
  };
  testCubinOfLaterMinor = {
    expr = runners (cubin "8.6" "");
    expected = [
      "sm86"
      "sm89"
    ];
  };
  testCubinOfFirstMaxwell = {
    expr = runners (cubin "5.0" "");
    expected = [
      "sm50"
      "sm52"
    ];
  };
  testCubinOfVoltaOnTuring = {
    expr = runsOn (cubin "7.0" "") "7.5";
    expected = true;
  };
  # CUDA for Tegra: no machine code crosses between Orin, Thor and all others.
  testCubinOfOrin = {
    expr = runners (cubin "8.7" "");
    expected = [ "sm87" ];
  };
  testCubinOfThor = {
    expr = runners (cubin "11.0" "");
    expected = [ "sm110" ];
  };
  # GB10 is no Tegra.
  testCubinOfBlackwell = {
    expr = runners (cubin "12.0" "");
    expected = [
      "sm120"
      "sm121"
    ];
  };
  # "PTX Compatibility": it is compiled for its own capability and all later ones, Tegra or not.
  testPtx = {
    expr = runners (ptx "8.6" "");
    expected = [
      "sm100"
      "sm103"
      "sm110"
      "sm120"
      "sm121"
      "sm86"
      "sm87"
      "sm89"
      "sm90"
    ];
  };
  # "Feature Set Compatibility": architecture-specific code runs on its capability alone, family-specific code on its
  # family: compute_100f on 10.0 and 10.3, compute_103f on 10.3, compute_120f on 12.0 and 12.1.
  testArchitectureSpecific = {
    expr = map runners [
      (cubin "9.0" "a")
      (ptx "9.0" "a")
      (cubin "10.0" "a")
    ];
    expected = [
      [ "sm90" ]
      [ "sm90" ]
      [ "sm100" ]
    ];
  };
  testFamilySpecific = {
    expr = map runners [
      (cubin "10.0" "f")
      (ptx "10.0" "f")
      (cubin "10.3" "f")
      (cubin "12.0" "f")
      (ptx "11.0" "f")
    ];
    expected = [
      [
        "sm100"
        "sm103"
      ]
      [
        "sm100"
        "sm103"
      ]
      [ "sm103" ]
      [
        "sm120"
        "sm121"
      ]
      [ "sm110" ]
    ];
  };

  testWords = {
    expr = words "NVIDIA H100-SXM5_80GB";
    expected = [
      "nvidia"
      "h"
      "100"
      "sxm"
      "5"
      "80"
      "gb"
    ];
  };
  testMentions = {
    expr = map (mentions "NVIDIA GeForce RTX4090") [
      "RTX 4090"
      "geforce"
      "409"
      "RTX 4090 D"
    ];
    expected = [
      true
      true
      false
      false
    ];
  };
  testEditDistance = {
    expr = [
      (editDistance "" "")
      (editDistance "" "abc")
      (editDistance "abc" "")
      (editDistance "kitten" "sitting")
      (editDistance "avx521" "avx512")
      (editDistance "ca" "abc")
    ];
    expected = [
      0
      3
      3
      3
      1
      3
    ];
  };
  testNearestPartsFirst = {
    expr = nearest 3 "4000" [
      "RTX 4000 Ada"
      "4090"
      "RTX 4000"
    ];
    expected = [
      "RTX 4000"
      "RTX 4000 Ada"
      "4090"
    ];
  };
  # Each is one mistake away.
  testNearestSharedStartFirst = {
    expr = nearest 2 "sm91" [
      "sm61"
      "sm90"
      "sm91a"
    ];
    expected = [
      "sm91a"
      "sm90"
    ];
  };

  testParseGpu = {
    expr = targets (
      map parseGpu [
        "H100"
        "sm_90a"
        "8.9+PTX"
        "NVIDIA RTX 6000 Ada Generation"
        "Quadro RTX 6000"
        "GeForce GTX TITAN X"
        "TITAN X (Pascal)"
        "GTX 960M"
      ]
    );
    expected = [
      "9.0"
      "9.0a"
      "8.9+PTX"
      "8.9"
      "7.5"
      "5.2"
      "6.1"
      "5.0"
    ];
  };
  testParseGpuRefuses = {
    expr = map (text: fails (parseGpu text)) [
      "RTX 4090 Ti"
      "9.0f"
      "H100 A100"
      "TITAN X"
    ];
    expected = [
      true
      true
      true
      true
    ];
  };
  testParseCpu = {
    expr = names (
      map parseCpu [
        "AVX-512"
        "armv8.2"
        "x86_64_v3"
      ]
    );
    expected = [
      "avx512"
      "armv8_2"
      "x86-64-v3"
    ];
  };
  testParseName = {
    expr =
      map
        (
          name:
          let
            read = parseName name;
          in
          "${read.kind} ${toString read.python} ${toString read.cuda} ${toString (targets read.gpus)} ${read.cpu.name or "-"}"
        )
        [
          "pytorch-python313-cuda12_8-sm90-avx512"
          "torchvision-sm80-sm90a-x86-64-v3"
          "pytorch-cpu-avx2"
          "pytorch-bin-cuda13_0-sm90"
          "pytorch-sm80-sm90"
        ];
    expected = [
      "compiled 3.13 12.8 9.0 avx512"
      "compiled   8.0 9.0a x86-64-v3"
      "compiled    avx2"
      "wheel  13.0 9.0 -"
      "cached   8.0 9.0 -"
    ];
  };
  testNearestNames = {
    expr = lib.concatMap nearestNames [
      "torchvision-rtx4090-AVX-512"
      "pytorch-bin-L40S"
    ];
    expected = [
      "torchvision-sm89-avx512"
      "pytorch-bin-sm89"
    ];
  };
  testEveryVariantIsReadBack = {
    expr = lib.mapAttrs (
      name: _:
      let
        read = parseName name;
      in
      {
        gpu = if read.gpus == [ ] then null else (lib.head read.gpus).name;
        cpu = read.cpu.name;
      }
    ) variants;
    expected = variants;
  };

  testCudaTargets = {
    expr = map (cudaTargets hardware.gpus.sm70) [
      "8.0"
      "9.0"
      "12.9.1"
      "12.10"
      "13.0"
    ];
    expected = [
      false
      true
      true
      false
      false
    ];
  };
  testNearestCuda = {
    expr = map (gpu: nearestCuda hardware.gpus.${gpu} "12.9" context.cudas) [
      "sm90"
      "sm110"
      "sm61"
    ];
    expected = [
      "12.9"
      "13.0"
      "12.9"
    ];
  };
  testProblems = {
    expr = map problemOf [
      { }
      { cuda = "13.0"; gpus = [ (parseGpu "sm70") ]; }
      { pytorch = "1.13.0"; }
      { gpus = [ (parseGpu "Orin") ]; }
      { cpu = parseCpu "armv9"; }
    ];
    expected = [
      null
      "CUDA 13.0 cannot target sm70, 9.0 to 12.9 can"
      "PyTorch 1.13.0 does not know sm90, 2.0 and later do"
      "sm87 (Jetson AGX Orin) exists on aarch64-linux only, and this is x86_64-linux"
      "armv9 is an instruction set of aarch64-linux, and this is x86_64-linux"
    ];
  };
  testSuggestions = {
    expr = map suggestionFor [
      { cuda = "13.0"; gpus = [ (parseGpu "sm70") ]; }
      { gpus = [ (parseGpu "sm89") ]; wheelTargets = wheelOf; }
      # Orin runs no code of the desktop's, and nobody runs a later GPU's.
      { gpus = [ (parseGpu "sm87") ]; system = "aarch64-linux"; cpu = parseCpu "armv9"; wheelTargets = wheelOf; }
      { gpus = [ (parseGpu "sm61") ]; wheelTargets = wheelOf; }
      { gpus = [ (parseGpu "sm70") ]; cuda = "13.0"; cudas = [ "13.0" ]; }
      { gpus = [ (parseGpu "sm103") ]; pytorch = "2.7.0"; }
      { gpus = [ (parseGpu "sm86") (parseGpu "sm89") ]; wheelTargets = wheelOf; }
      { gpus = [ (parseGpu "sm80") (parseGpu "sm90") ]; wheelTargets = [ "9.0" ]; }
      { gpus = [ (parseGpu "sm70") (parseGpu "sm90") ]; cuda = "13.0"; }
      { gpus = map parseGpu [ "sm89" "sm90a" ]; wheelTargets = wheelOf; }
      { gpus = map parseGpu [ "sm61" "sm80" "sm90" ]; wheelTargets = wheelOf; }
      { cpu = parseCpu "armv9"; }
      { gpus = [ ]; wheelTargets = wheelOf; }
      { gpus = [ ]; cpu = null; }
    ];
    expected = [
      "nearest that works here: pytorch-cuda12_9-sm70-avx2"
      "nearest that works here: pytorch-bin-sm89, with the sm86 code that sm89 runs"
      "nothing that works here runs on sm87"
      "nothing that works here runs on sm61"
      "nothing that works here runs on sm70"
      "nearest that works here: pytorch-sm100-avx2, whose code runs on sm103"
      "nearest that works here: pytorch-sm86-avx2, whose code runs on sm86 and sm89"
      "nearest that works here: pytorch-sm90-avx2, for one of them"
      "nearest that works here: pytorch-cuda12_9-sm70-sm90-avx2"
      "nearest that works here: pytorch-bin-sm89-sm90, with the code that each of them runs"
      "nearest that works here: pytorch-sm80-sm90-avx2, for those of them"
      "nearest that works here: pytorch-sm90-amx"
      "nearest that works here: pytorch-sm75-avx2"
      ""
    ];
  };
}
