# A package set with nixpkgs' interface, and as much of nixpkgs as this project uses. Nothing is compiled:
# PyTorch and NVIDIA's libraries are the official wheels, Python is the machine's own.
{
  system ? builtins.currentSystem,
  config ? { },
  overlays ? [ ],
}:

let
  lib = import ./lib.nix;
  pins = lib.importJSON ./wheels.json;
  # A release of PyTorch for each CUDA; the first is the default, where no driver says what the machine can run.
  releases = lib.filter (release: release.system == system && release ? pythons) pins.releases;
  releaseOf = cuda: lib.findFirst (release: release.cuda == cuda) (lib.head releases) releases;
  cudaAttribute = cuda: "cudaPackages_${lib.replaceStrings [ "." ] [ "_" ] cuda}";

  # "3.11" -> "python311" -> "python3.11"
  pythons = map (version: "python${lib.replaceStrings [ "." ] [ "" ] version}") pins.pythons;
  program = name: "python3.${lib.removePrefix "python3" name}";

  # What the machine has of the pinned Pythons. Pure evaluation cannot look, and takes it to have all: --impure
  # makes the difference. The directories are those of builder.sh's PATH that distributions and administrators use.
  mayLook = builtins.currentSystem or null == system;
  fileOf =
    program:
    lib.findFirst lib.pathExists null [
      "/usr/local/bin/${program}"
      "/usr/bin/${program}"
    ];
  pythonsHere = lib.filter (name: !mayLook || fileOf (program name) != null) pythons;
  programs = lib.concatMapStringsSep ", " program;

  # The machine's own python3 is a link, and Nix does not say where to: it has the contents of one of the others.
  contents = program: builtins.hashFile "sha256" (fileOf program);
  isOwn = name: contents (program name) == contents "python3";
  default =
    if !mayLook then
      lib.head pythonsHere
    else
      lib.findFirst isOwn (lib.last pythonsHere) (lib.optionals (fileOf "python3" != null) pythonsHere);

  # The version of the machine's NVIDIA driver is in the name of its library, wherever the distribution or a container's
  # runtime puts that.
  drivers = lib.concatMap (
    directory:
    lib.concatMap (
      file:
      let
        version = builtins.match "libcuda[.]so[.]([0-9]{3}[0-9.]*)" file;
      in
      lib.optionals (version != null) version
    ) (lib.attrNames (lib.optionalAttrs (lib.pathExists directory) (builtins.readDir directory)))
  ) driverDirectories;
  driverDirectories = lib.optionals mayLook [
    "/usr/lib/${system}-gnu"
    "/usr/lib64"
    "/usr/lib/${system}-gnu/nvidia/current"
    "/usr/local/nvidia/lib64"
    "/run/opengl-driver/lib"
  ];

  # What to do where a program is missing.
  install =
    program:
    if lib.pathExists "/usr/bin/apt-get" then
      "apt-get install ${program} python3-pip, where this release has it"
    else
      "install ${program} with pip";

  packages =
    final:
    {
      inherit
        lib
        config
        pins
        releases
        ;
      # The version of the machine's NVIDIA driver, or null.
      driver = lib.findFirst (_: true) null drivers;
      pkgs = final;
      stdenv = {
        hostPlatform = { inherit system; };
        inherit (final) mkDerivation;
      };
      callPackage = lib.callPackageWith final;
      extend =
        overlay:
        import ./. {
          inherit system config;
          overlays = overlays ++ [ overlay ];
        };

      mkDerivation = import ./mkDerivation.nix { inherit lib system; };
      runCommand =
        name: attrs: buildCommand:
        final.mkDerivation (attrs // { inherit name buildCommand; });
      # `nix develop` looks for its shell here.
      bashInteractive = final.runCommand "bash-interactive" { } ''
        mkdir -p "$out/bin"
        ln -s /bin/bash "$out/bin/bash"
      '';
      # It wants bash for a builder too, and to be told of its output.
      mkShell =
        {
          packages ? [ ],
          ...
        }@attrs:
        final.mkDerivation (
          removeAttrs attrs [ "packages" ]
          // {
            name = "shell";
            builder = "/bin/bash";
            outputs = [ "out" ];
            nativeBuildInputs = packages;
            PATH = lib.concatMapStringsSep ":" (package: "${package}/bin") packages;
            buildCommand = "touch $out";
          }
        );
      fetchWheel = final.callPackage ./fetchWheel.nix { };

      # PROGRAM itself, a python3.X, or what to do where the machine has none such.
      ofThisMachine =
        name:
        if lib.elem name (map program pythonsHere) then
          name
        else
          throw "this machine has no ${name}: ${install name}${
            lib.optionalString (pythonsHere != [ ]) ", or write a name without it, for ${programs pythonsHere}"
          }";

      pythonPackagesExtensions = [ ];
      python3 =
        if pythonsHere == [ ] then
          throw "this machine has none of ${programs pythons} in /usr/local/bin or /usr/bin: ${
            install (program (lib.last pythons))
          }"
        else
          final.${default};
      python3Packages = final.python3.pkgs;

      cudaPackages = final.${cudaAttribute (lib.head releases).cuda};
    }
    # What the wheels were built with. Whoever makes another one the default gets that one's wheels.
    // lib.listToAttrs (
      map (
        { cuda, pythons, ... }:
        lib.nameValuePair (cudaAttribute cuda) {
          cudaMajorMinorVersion = cuda;
          cudnn = {
            inherit ((lib.head (lib.attrValues pythons))."nvidia-cudnn-cu${lib.versions.major cuda}") version;
          };
        }
      ) releases
    )
    // lib.genAttrs pythons (
      name:
      final.callPackage ./python.nix {
        inherit name;
        release = releaseOf final.cudaPackages.cudaMajorMinorVersion;
        platforms = map (platform: "${platform}_${lib.head (lib.splitString "-" system)}") pins.platforms;
      }
    )
    // lib.listToAttrs (map (name: lib.nameValuePair "${name}Packages" final.${name}.pkgs) pythons);
in
if releases == [ ] then
  throw "the embedded package set has no wheels for ${system}: take a nixpkgs that compiles"
else
  lib.fix (lib.extends (lib.composeManyExtensions overlays) packages)
