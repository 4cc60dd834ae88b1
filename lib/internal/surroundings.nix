{ lib, withTorch }:

/**
  What stands around one torch: a Python that has it, the packages that are built on it, and its proofs.

  # Type

  ```
  surroundings :: { pkgs :: Pkgs, interpreter :: Python, pythonPackages :: Null | Scope ? null } -> Derivation -> {
    pythonPackages :: Scope,
    environment :: Derivation,
    torchvision :: Derivation,
    torchaudio :: Derivation,
    verify :: Derivation,
    verifyEnvironment :: Derivation -> Derivation,
    tests :: AttrSet Derivation,
  }
  ```

  # Inputs

  `pythonPackages`
  : the scope that has this torch already, or `null` for one of its own, made of `interpreter`, which it is too where
    that scope has another by now

  # Example

  ```nix
  (surroundings { inherit pkgs; interpreter = pkgs.python3; } torch).environment
  => «derivation python3-3.13.5-env»
  ```
*/
{
  pkgs,
  interpreter,
  pythonPackages ? null,
}:
torch:
let
  # A scope in which whatever needs torch gets this one.
  own = interpreter.override {
    self = own;
    packageOverrides = _: _: { inherit torch; };
  };
  scope =
    if pythonPackages != null && pythonPackages.torch.drvPath == torch.drvPath then
      pythonPackages
    else
      own.pkgs;

  # torchvision and torchaudio, and what leads from them to torch.
  companions = withTorch interpreter.pkgs (lib.filter (name: interpreter.pkgs ? ${name}) [
    "torchvision"
    "torchaudio"
    "torchcodec"
    "torchmetrics"
    "pytorch-lightning"
  ]) torch;

  # A package set without this repository's overlay has no such package.
  cli =
    interpreter.pkgs.pytorch-variants
      or (interpreter.pkgs.callPackage ../../pkgs/pytorch-variants.nix { });

  # With a command line that all variants of this Python share.
  check =
    file: arguments:
    let
      f = import file;
      given = arguments // {
        variant = torch;
        pytorch-variants-cli = interpreter.pkgs.toPythonApplication cli;
      };
    in
    pkgs.callPackage f (builtins.intersectAttrs (lib.functionArgs f) given);
  verifyEnvironment = environment: check ../../checks/verify.nix { inherit environment; };

  environment = scope.python.withPackages (packages: [ packages.torch ]);
  verify = check ../../checks/runtime.nix { inherit environment; };
in
{
  inherit (companions) torchvision torchaudio;
  pythonPackages = scope;
  inherit environment verify verifyEnvironment;
  tests = {
    verify = verifyEnvironment environment;
    companions = verifyEnvironment (
      scope.python.withPackages (packages: [
        packages.torch
        packages.torchvision
        packages.torchaudio
      ])
    );
    gpu = check ../../checks/gpu.nix { runtime = verify; };
  };
}
