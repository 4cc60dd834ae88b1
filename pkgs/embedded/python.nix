{
  lib,
  pkgs,
  fetchWheel,
  ofThisMachine,
  pythonPackagesExtensions,
  name,
  release,
  platforms,
  packageOverrides ? _: _: { },
  # nixpkgs' python.override wants it; here the scope finds itself.
  self ? null,
}:

# One interpreter of the machine and the packages for it, as nixpkgs' python3 and python3.pkgs.
let
  minor = lib.removePrefix "python3" name;
  wheels = release.pythons.${name};
  pythonVersion = "3.${minor}";
  sitePackages = "lib/python${pythonVersion}/site-packages";
  isWheel = pin: lib.hasSuffix ".whl" pin.file;

  python = {
    inherit pythonVersion sitePackages platforms;
    # Found on PATH when something is built: the machine's own, wherever its distribution puts it.
    interpreter = ofThisMachine "python${pythonVersion}";
    abi = "cp3${minor}";
    pkgs = packages;
    # For a look at the disk before the download: "STORE_PATH BYTES" per wheel, how many times larger is what
    # wheels unpack to, and the bytes of PyTorch's largest library before it is cut down.
    downloads = lib.concatMapStringsSep "\n" (wheel: "${wheel} ${toString wheel.size}") (
      lib.mapAttrsToList (pname: pin: fetchWheel (pin // { inherit python pname; })) (
        lib.filterAttrs (_: isWheel) wheels
      )
    );
    unpacked = {
      ratio = 1.8;
      library = 1100000000;
    };
    withPackages = f: packages.callPackage ./environment.nix { } (f packages);
  };

  # What its packages are, of those that the flake offers.
  companions = {
    torchvision = {
      description = "PyTorch's vision library: the official wheel";
      license = lib.licenses.bsd3;
    };
    torchaudio = {
      description = "PyTorch's audio library: the official wheel";
      license = lib.licenses.bsd2;
    };
  };

  # Overridable by its dependencies, as a package of nixpkgs is by its arguments.
  wheelPackage =
    pname: pin:
    lib.makeOverridable (lib.setFunctionArgs (
      dependencies:
      let
        # Companions' GPU code is cut down to what their torch is for.
        gpuTargets = lib.optionals (dependencies ? torch && companions ? ${pname}) (
          dependencies.torch.gpuTargets or [ ]
        );
      in
      packages.buildPythonPackage {
        inherit pname;
        inherit (pin) version;
        format = if isWheel pin then "wheel" else "setuptools";
        build-system = lib.optional (!isWheel pin) packages.setuptools;
        src = fetchWheel (pin // { inherit python pname; });
        dependencies = lib.attrValues dependencies;
        postInstall = lib.optionalString (gpuTargets != [ ]) (
          packages.pytorch-variants.retarget {
            directory = "$out/${sitePackages}/${pname}";
            gpus = gpuTargets;
          }
        );
        passthru = lib.optionalAttrs (gpuTargets != [ ]) { inherit (dependencies.torch) origin; };
        meta = companions.${pname} or { };
      }
    ) (lib.genAttrs (requiredBy pname pin) (_: false))) (
      lib.genAttrs (requiredBy pname pin) (name: packages.${name})
    );

  # Of the companions torchaudio says no more since 2.11 that it needs torch.
  requiredBy =
    pname: pin:
    pin.requires ++ lib.optional (companions ? ${pname} && !lib.elem "torch" pin.requires) "torch";

  extensions = lib.composeManyExtensions (pythonPackagesExtensions ++ [ packageOverrides ]);
  packages = lib.fix (
    lib.extends extensions (
      self:
      lib.mapAttrs wheelPackage wheels
      // {
        inherit python;
        callPackage = lib.callPackageWith (pkgs // self);
        toPythonApplication =
          package:
          (python.withPackages (_: [ package ])).overrideAttrs {
            inherit (package)
              pname
              version
              name
              meta
              ;
          };
        buildPythonPackage = self.callPackage ./buildPythonPackage.nix { };
        torch = self.callPackage ./torch.nix { };
        torch-bin = self.callPackage ./torch-bin.nix {
          pin = wheels.torch;
          inherit (release) gpuTargets;
        };
      }
    )
  );
in
python
