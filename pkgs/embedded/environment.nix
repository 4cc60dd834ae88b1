{
  lib,
  stdenv,
  python,
}:

# python.withPackages: a virtual environment of symbolic links to the packages and all that they need; beside an official
# PyTorch with a program that makes one for pip.
packages:
let
  closure = builtins.genericClosure {
    startSet = map (package: {
      key = package.outPath;
      inherit package;
    }) packages;
    operator =
      { package, ... }:
      map (dependency: {
        key = dependency.outPath;
        package = dependency;
      }) (package.dependencies or [ ]);
  };
in
stdenv.mkDerivation {
  name = "python3-${python.pythonVersion}-env";
  inherit (python) interpreter sitePackages;
  # Of the same release as the wheel.
  COMPANIONS = lib.optionals (lib.any (package: package ? wheelTargets) packages) (
    map (name: "${name}==${python.pkgs.${name}.version}") [
      "torchvision"
      "torchaudio"
    ]
  );
  sites = map (entry: "${entry.package}/${python.sitePackages}") closure;
  buildCommand = ''
    $interpreter ${./environment.py} "$out" "$sitePackages" ${./make_venv.py} $sites
  '';
  passthru = { inherit python; };
  meta.mainProgram = "python";
}
