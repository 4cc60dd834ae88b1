"""What docs/flake-input.md tells people to write, as it stands there: over the embedded set, and $NIXPKGS."""

import json
import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
from conftest import FLAGSHIP, ROOT, Nix

from pytorch_variants.nix import closure

PAGE = (ROOT / "docs" / "flake-input.md").read_text(encoding="utf-8")
OWN = "pytorch-variants"

# flake-parts' documented interface, as much of it as a module of a package uses: https://flake.parts
FLAKE_PARTS = """
{
  outputs = _: {
    lib.mkFlake = { inputs }: module:
      let
        inherit (inputs.nixpkgs) lib;
        inherit (lib) mkOption types;
        outputs = [ "packages" "devShells" "checks" ];
        evaluated = lib.evalModules {
          specialArgs = {
            inherit inputs;
            flake-parts-lib.mkPerSystemOption = module: mkOption {
              type = types.deferredModuleWith { staticModules = [ module ]; };
            };
          };
          modules = [ module {
            options.systems = mkOption { type = types.listOf types.str; };
            options.perSystem = mkOption {
              type = types.deferredModule;
              apply = module: system: (lib.evalModules {
                specialArgs = { inherit system; };
                modules = [ module {
                  options = lib.genAttrs outputs (_: mkOption {
                    type = types.lazyAttrsOf types.package;
                    default = { };
                  });
                  config._module.args.pkgs = lib.mkOptionDefault inputs.nixpkgs.legacyPackages.${system};
                } ];
              }).config;
            };
          } ];
        };
      in lib.genAttrs outputs (output: lib.genAttrs evaluated.config.systems
        (system: (evaluated.config.perSystem system).${output}));
  };
}
"""

# The modules called by hand, where there is no module system: what a real one makes of options and
# priorities is not looked at.
BY_HAND = """
let
  pick = condition: value: if condition then value else { };
  lib = import ./lib.nix // {
    literalExpression = x: x; mkBefore = x: x; mkDefault = x: x; mkIf = pick; mkOption = x: x;
    types = let type = _: { }; in {
      package = { }; str = { }; enum = type; functionTo = type; listOf = type; nullOr = type;
    };
  };
  packageSet = nixpkgs: import ./. { inherit (nixpkgs) config overlays; system = "x86_64-linux"; };
  system = let
    found = import MODULES/nixos.nix {
      inherit lib;
      pkgs = packageSet found.config.nixpkgs;
      options.nixpkgs.pkgs.isDefined = false;
      config.hardware.graphics.enable = false;
      config.programs.pytorch-variants = builtins.mapAttrs (_: option: option.default)
        found.options.programs.pytorch-variants // { variant = "pytorch-sm90-avx512"; };
    };
  in found // { pkgs = packageSet found.config.nixpkgs; };
  parts = let
    module = (import MODULES/flakeParts.nix {
      inherit lib;
      inputs.nixpkgs = ./.;
      flake-parts-lib.mkPerSystemOption = module: module;
    }).options.perSystem {
      config.pytorch-variants.variant = "pytorch-sm90-avx512";
      inherit (module.config._module.args) pkgs;
      system = "x86_64-linux";
    };
  in module.config;
in {
  nixos = {
    torch = system.pkgs.python3Packages.torch.drvPath;
    python = map (package: package.drvPath) system.config.environment.systemPackages;
    inherit (system.config.nix) settings;
    failed = map (one: one.message) (builtins.filter (one: !one.assertion) system.config.assertions);
  };
  parts = {
    packages = builtins.mapAttrs (_: package: package.drvPath) parts.packages;
    checks = builtins.attrNames parts.checks;
    shells = builtins.attrNames parts.devShells;
  };
}
"""

# NixOS' own modules that this one has to do with, so that a tree with few others will do.
NIXOS = """
{ nixpkgs, modules }:
let
  evaluate = configuration: import (nixpkgs + "/nixos/lib/eval-config.nix") {
    system = "x86_64-linux";
    baseModules = map (module: nixpkgs + "/nixos/modules/${module}.nix") [
      "config/nix" "config/system-path" "hardware/graphics" "misc/assertions" "misc/nixpkgs"
    ];
    modules = [
      (modules + "/nixos.nix")
      ({ lib, ... }: { options.nix.enable = lib.mkOption { default = true; }; config._module.check = false; })
      { programs.pytorch-variants.variant = "pytorch-sm90-avx512"; }
      configuration
    ];
  };
  whole = evaluate {
    hardware.graphics.enable = true;
    nixpkgs.config.allowBroken = true;
    programs.pytorch-variants.caches = [ "community" "flox" ];
    programs.pytorch-variants.extraPackages = packages: [ packages.torchvision ];
  };
  failed = evaluated: map (one: one.message)
    (builtins.filter (one: !one.assertion) evaluated.config.assertions);
  pythons = builtins.filter (package: package ? python) whole.config.environment.systemPackages;
in {
  torch = whole.pkgs.python3Packages.torch.drvPath;
  python = map (package: package.drvPath) pythons;
  inherit (whole.pkgs.config) cudaSupport allowBroken;
  settings = { inherit (whole.config.nix.settings) substituters trusted-public-keys; };
  failed = { whole = failed whole; bare = failed (evaluate { }); };
  none = (evaluate { programs.pytorch-variants.variant = (import (nixpkgs + "/lib")).mkForce null; })
    .pkgs.python3Packages.torch.pname;
}
"""


def block(heading: str, number: int = 0) -> str:
    """One of the indented blocks below a heading of the page."""
    section = PAGE.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return textwrap.dedent(re.findall(r"(?:^    .*\n|^\n(?=    ))+", section, re.MULTILINE)[number]).strip()


class Consumer:
    """A flake of somebody's own, whose inputs are this repository and the tests' package set."""

    def __init__(self, directory: Path, nix: Nix, heading: str) -> None:
        self.directory, self.nix = directory, nix
        text = block(heading)
        (directory / "flake.nix").write_text(text + "\n")
        self.inputs = ["--override-input", OWN, f"git+file://{ROOT}"]
        package_set = "nixpkgs" if f"inputs.{OWN}.inputs.nixpkgs.follows" in text else f"{OWN}/nixpkgs"
        self.inputs += ["--override-input", package_set, f"path:{nix.nixpkgs}"]

    def eval(self, attribute: str, function: str = "x: x") -> Any:
        question = ("eval", "--json", f"path:{self.directory}#{attribute}", "--apply", function)
        result = subprocess.run(
            ["nix", *question, *self.inputs, "--no-write-lock-file"],
            capture_output=True,
            text=True,
            check=False,
            env=self.nix.environment(),
        )
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


def wanted(nix: Nix, *names: str) -> list[str]:
    found: list[str] = nix.eval(
        ".#packages.x86_64-linux", f"p: map (name: p.${{name}}.drvPath) {json.dumps(names).replace(',', '')}"
    )
    return found


def torches(paths: set[str]) -> set[str]:
    """Every PyTorch among derivations, whoever made it."""
    return {
        path
        for path in paths
        if re.search(r"-python3\.\d+-(torch|pytorch-(bin-)?(python|sm|cpu).*)-2\.", path)
    }


def test_an_overlay(nix: Nix, tmp_path: Path) -> None:
    python = Consumer(tmp_path, nix, "One torch").eval("packages.x86_64-linux.default.drvPath")
    assert torches(closure(python)) == set(wanted(nix, FLAGSHIP))


def test_two_gpus_and_a_nixpkgs_of_ones_own(nix: Nix, tmp_path: Path) -> None:
    pythons = Consumer(tmp_path, nix, "Two GPUs").eval(
        "packages.x86_64-linux", "builtins.mapAttrs (_: python: python.drvPath)"
    )
    h100, a100 = wanted(nix, FLAGSHIP, "pytorch-sm80-avx2")
    assert torches(closure(pythons["h100"])) == {h100}
    assert torches(closure(pythons["a100"])) == {a100}


def test_flake_parts(nix: Nix, tmp_path: Path) -> None:
    if not nix.compiles:
        # There is no module system.
        [torch] = wanted(nix, FLAGSHIP)
        parts = by_hand(nix)["parts"]
        assert parts == {
            "packages": {FLAGSHIP: torch},
            "checks": [f"verify-{FLAGSHIP}"],
            "shells": [FLAGSHIP],
        }
        return
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "flake.nix").write_text(FLAKE_PARTS)
    (tmp_path / "own").mkdir()
    consumer = Consumer(tmp_path / "own", nix, "flake-parts")
    consumer.inputs += ["--override-input", "flake-parts", f"path:{tmp_path / 'parts'}"]
    packages, checks = (
        consumer.eval(f"{output}.x86_64-linux", "builtins.mapAttrs (_: one: one.drvPath)")
        for output in ("packages", "checks")
    )
    torch, check = wanted(nix, FLAGSHIP)[0], nix.eval(f".#{FLAGSHIP}.tests.verify.drvPath")
    assert packages[FLAGSHIP] == torch
    assert torches(closure(packages["default"])) == {torch}
    assert checks == {f"verify-{FLAGSHIP}": check}


def by_hand(nix: Nix) -> Any:
    expression = BY_HAND.replace("MODULES", str(ROOT / "modules")).replace("./", f"{nix.nixpkgs}/")
    return json.loads(nix.ok("eval", "--json", "--impure", "--expr", expression))


def test_nixos(nix: Nix, tmp_path: Path) -> None:
    [torch] = wanted(nix, FLAGSHIP)
    caches = nix.lib("lib.caches")
    community = caches["community"]
    if not nix.compiles:
        found = by_hand(nix)["nixos"]
        assert found["torch"] == torch
        assert [torches(closure(python)) for python in found["python"]] == [{torch}]
        assert found["settings"] == {
            "substituters": [community["url"]],
            "trusted-public-keys": [community["key"]],
        }
        [failed] = found["failed"]
        assert "Write hardware.graphics.enable = true;" in failed
        return
    call = f"({NIXOS}) {{ nixpkgs = {nix.nixpkgs}; modules = {ROOT}/modules; }}"
    found = json.loads(nix.ok("eval", "--json", "--impure", "--expr", call))
    assert found["torch"] == torch
    assert [torches(closure(python)) for python in found["python"]] == [{torch}]
    assert found["cudaSupport"]
    assert found["allowBroken"], "the user's own configuration counts too"
    assert {cache["url"] for cache in caches.values()} < set(found["settings"]["substituters"])
    assert {cache["key"] for cache in caches.values()} < set(found["settings"]["trusted-public-keys"])
    assert found["failed"]["whole"] == []
    [failed] = found["failed"]["bare"]
    assert "Write hardware.graphics.enable = true;" in failed
    assert found["none"] == "torch"
    # The page's own flake, of which a tree without all of NixOS gives the packages.
    (tmp_path / "configuration.nix").write_text("{ _module.check = false; }\n")
    machine = Consumer(tmp_path, nix, "NixOS")
    assert machine.eval("nixosConfigurations.machine.pkgs.python3Packages.torch.drvPath") == torch


def instantiate(nix: Nix, directory: Path, command: str) -> str:
    """What a command of the page would build."""
    program, *arguments = re.findall(r"'[^']*'|\S+", command)
    file = {"nix-build": "default.nix", "nix-shell": "shell.nix"}[program]
    result = subprocess.run(
        ["nix-instantiate", file, *(argument.strip("'") for argument in arguments)],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        env={**nix.environment(), "NIX_PATH": f"nixpkgs={nix.nixpkgs}"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_a_package_set_of_ones_own_without_flakes(nix: Nix) -> None:
    command = block("Without flakes", 1)
    assert [instantiate(nix, ROOT, command)] == wanted(nix, FLAGSHIP)
    # Without a name it is what `nix build` makes, not all of them.
    assert [instantiate(nix, ROOT, command.replace(f"-A {FLAGSHIP} ", ""))] == wanted(nix, "default")


@pytest.fixture
def clone(nix: Nix, tmp_path: Path) -> Path:
    """A clone that is locked to the tests' package set, which is in the store."""
    for part in ("default.nix", "shell.nix", "lib", "pkgs", "checks", "modules", "LICENSE"):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    shutil.copytree(
        ROOT / "pyhelpers",
        tmp_path / "pyhelpers",
        symlinks=True,
        ignore=shutil.ignore_patterns("tests", "*.egg-info", "__pycache__"),
    )
    source = nix.nixpkgs
    if not source.startswith("/nix/store/"):
        added = ("nix", "store", "add", "--name", "source", source)
        source = subprocess.check_output(added, text=True, env=nix.environment()).strip()
    lock = json.loads((ROOT / "flake.lock").read_text())
    info = subprocess.check_output(["nix-store", "--query", "--hash", source], text=True).strip()
    converted = ("nix", "hash", "convert", "--to", "sri", info)
    nar_hash = subprocess.check_output(converted, text=True, env=nix.environment()).strip()
    lock["nodes"]["nixpkgs"]["locked"]["narHash"] = nar_hash
    (tmp_path / "flake.lock").write_text(json.dumps(lock))
    return tmp_path


def test_the_locked_nixpkgs_without_flakes(nix: Nix, clone: Path) -> None:
    build, shell = block("Without flakes").splitlines()
    [torch] = wanted(nix, FLAGSHIP)
    assert instantiate(nix, clone, build) == torch
    assert torches(closure(instantiate(nix, clone, shell))) == {torch}
    assert torches(closure(instantiate(nix, clone, "nix-shell"))) == {torch}


def test_the_page_has_every_cache(nix: Nix) -> None:
    settings = dict(line.split(" = ") for line in block("The binary caches").splitlines())
    caches = nix.lib("lib.caches").values()
    assert settings["extra-substituters"].split() == [cache["url"] for cache in caches]
    assert settings["extra-trusted-public-keys"].split() == [cache["key"] for cache in caches]
