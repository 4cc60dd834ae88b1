{
  lib,
  base,
  guard,
  identifiers,
  linked,
  maintainers,
  naming,
  overridable,
  passthru,
  phases,
  surroundings,
}:

/**
  `mkPytorchVariant`, for it and for overlays: nixpkgs' own torch, overridden twice. Each step is a file of this
  directory. Whoever overrides the result gets the variant that its arguments then say, or nixpkgs' own torch where
  no variant's name says it: ROCm, or CUDA for all GPUs of the package set.

  # Type

  ```
  variantOf :: {
    pkgs :: Pkgs,
    pythonPackages :: Null | Scope ? null,
    torch :: Null | Derivation ? null,
  } -> Settings -> Derivation
  ```

  # Inputs

  `pythonPackages`, `torch`
  : the scope to build in and the torch to override, of an overlay that is about to replace it there
*/
from: settings:
let
  asked = naming settings;
  found = base from settings asked;
  inherit (found) interpreter pkgs stock;
  inherit (pkgs.stdenv.hostPlatform) system;
  config = pkgs.config or { };

  # What the recipe is handed before anybody overrides it.
  own = {
    inherit (asked) cudaSupport;
    gpuTargets = asked.targets;
  };

  # An overlay sees package sets that somebody has derived from its own: pkgsRocm, pkgsForCudaArch.sm_80.
  bare = target: lib.head (builtins.match "([0-9.]+[af]?).*" target);
  elsewhere = lib.subtractLists (config.cudaCapabilities or [ ]) (map bare asked.targets);
  forOthers = from ? torch && (config.cudaCapabilities or [ ]) != [ ] && elsewhere != [ ];

  contains = part: text: lib.replaceStrings [ part ] [ "" ] text != text;

  make =
    self: change: finish:
    let
      arguments = own // change own;
      rocm = arguments.rocmSupport or (config.rocmSupport or false);
      unnamed =
        rocm || arguments.cudaSupport && arguments.gpuTargets == [ ] || forOthers && change own == { };
    in
    if unnamed then
      # Targets of CUDA would be handed to ROCm.
      finish (
        stock.override (
          original:
          let
            given = change (original // own);
          in
          if given.gpuTargets or [ ] == own.gpuTargets then removeAttrs given [ "gpuTargets" ] else given
        )
      )
    else
      variant self change finish arguments;

  variant =
    self: change: finish: arguments:
    let
      named = naming (
        settings // { gpuTargets = lib.optionals arguments.cudaSupport arguments.gpuTargets; }
      );
      inherit (named) cpu cudaSupport gpus;
      cudaPackages = arguments.cudaPackages or pkgs.cudaPackages;
      cuda = cudaPackages.cudaMajorMinorVersion;
      libraries =
        if cudaSupport then
          linked { inherit pkgs cudaPackages gpus; }
        else
          {
            arguments = { };
            rebuilt = [ ];
            leftOut = [ ];
          };

      targeted = stock.override (
        original:
        builtins.intersectAttrs (lib.functionArgs stock.override) libraries.arguments
        // change (original // own)
        // {
          inherit cudaSupport;
        }
        // lib.optionalAttrs cudaSupport { gpuTargets = named.targets; }
      );
      python = (targeted.pythonModule or interpreter).pythonVersion;
      wheel = targeted.origin or "source" == "wheel";
      cpuFlags = lib.optionals (!wheel) settings.cpuFlags;

      spelled = { inherit system cuda python; };
      compiledName = named.pname spelled;
      # No package carries the name of what it is not.
      variantName = if wheel then named.wheelName spelled else compiledName;

      added = phases {
        inherit pkgs cpu cpuFlags;
        name = variantName;
        inherit (settings) compilerCache memoryPerJob;
        # The recipe's own switches leave out the others.
        leftOut = (cpu.without or [ ]) ++ lib.intersectLists [ "CUDNN" ] libraries.leftOut;
        banner = lib.concatStringsSep "\n" (
          [
            variantName
            "  PyTorch       ${targeted.version}, Python ${python}"
            "  GPU target    ${
              if cudaSupport then
                "${lib.concatStringsSep ";" named.targets}  ${named.gpuText}"
              else
                named.gpuName system
            }"
          ]
          ++ lib.optional (
            !wheel
          ) "  CPU features  ${if cpu == null then "the platform's" else cpu.title}  ${toString cpuFlags}"
          ++ [ "  CUDA          ${if cudaSupport then cuda else "disabled"}" ]
          ++ lib.optional (
            libraries.rebuilt != [ ]
          ) "  Compiled too  ${lib.concatStringsSep ", " libraries.rebuilt}"
          ++ lib.optional (
            libraries.leftOut != [ ]
          ) "  Left out      ${lib.concatStringsSep ", " libraries.leftOut}"
          ++ (
            if wheel then
              [
                "  Origin        the official wheel; its CPU code chooses what to run"
                "${compiledName} is compiled where a package set has compilers: --nixpkgs locked or --nixpkgs source"
              ]
            else
              [ "  Origin        compiled from source" ]
          )
        );
      };

      described = targeted.overrideAttrs (old: {
        pname = variantName;
        preUnpack = added.preUnpack + (old.preUnpack or "");
        preConfigure = (old.preConfigure or "") + added.preConfigure;
        preBuild = (old.preBuild or "") + added.preBuild;
        passthru =
          (old.passthru or { })
          // passthru {
            inherit
              cpuFlags
              cuda
              libraries
              named
              python
              settings
              stock
              variantName
              wheel
              ;
            inherit system;
          };
        meta = old.meta // {
          description = named.description { inherit system cuda wheel; };
          identifiers = identifiers targeted;
          maintainers = maintainers ++ old.meta.maintainers or [ ];
          platforms = lib.foldl' lib.intersectLists (cpu.platforms or [ system ]) (
            map (g: g.platforms) gpus
          );
        };
      });
      package = finish described;
      around = surroundings {
        inherit pkgs interpreter;
        pythonPackages = from.pythonPackages or null;
      } self;
    in
    guard
      {
        inherit
          cpu
          cuda
          gpus
          stock
          ;
        pname = variantName;
        inherit (from) pkgs;
        # Whoever replaces a phase drops what makes it the variant.
        intact = package.pname != variantName || contains added.preConfigure (package.preConfigure or "");
      }
      (
        package
        // around
        // {
          tests = (package.tests or { }) // around.tests;
        }
      );
in
overridable { inherit stock make; }
