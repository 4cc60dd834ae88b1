{
  stdenv,
  python,
}:

# python.withPackages: a virtual environment of symbolic links to the packages and all that they need.
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
  sites = map (entry: "${entry.package}/${python.sitePackages}") closure;
  buildCommand = ''
    $interpreter ${./environment.py} "$out" "$sitePackages" $sites
  '';
  passthru = { inherit python; };
  meta.mainProgram = "python";
}
