"""The embedded package set is what it stands in for."""

import json
import re
import subprocess
import tomllib

from conftest import FLAGSHIP, ROOT, Nix

from pytorch_variants.pins.wheels import target

PINS = json.loads((ROOT / "pkgs" / "embedded" / "wheels.json").read_text())

EXPRESSIONS = [
    'lib.stringToCharacters "kitten"',
    'lib.splitString "-" "a-b--c"',
    'lib.splitString "." "1.2"',
    'lib.versions.majorMinor "9.10.2.21"',
    'lib.hasInfix " b " "a b c"',
    'lib.hasSuffix "+ptx" "9.0+ptx"',
    'lib.hasPrefix "sm" "sm90"',
    'lib.removePrefix "a" "abc"',
    "lib.intersectLists [ 1 2 3 ] [ 3 1 ]",
    "lib.subtractLists [ 3 1 ] [ 1 2 3 ]",
    "lib.take 2 [ 1 2 3 ]",
    "lib.take 5 [ 1 2 3 ]",
    "lib.last [ 1 2 3 ]",
    "lib.findFirst (x: x > 1) null [ 1 2 3 ]",
    "lib.findFirst (x: x > 9) null [ 1 2 3 ]",
    'lib.versionOlder "12.9" "12.10"',
    'lib.versionAtLeast "12.9" "12.9"',
    "lib.cartesianProduct { a = [ 1 2 ]; b = [ 3 4 ]; }",
    "lib.filterAttrs (n: v: v > 1) { a = 1; b = 2; }",
    'lib.mapAttrsToList (n: v: n + v) { a = "1"; b = "2"; }',
    "lib.functionArgs ({ a, b ? 1 }: a)",
    'lib.toLower "NVIDIA H100"',
    "map (one: one.spdxId or one.fullName) (with lib.licenses; [ bsd2 bsd3 issl mit ])",
    "map (one: one.free) (with lib.licenses; [ bsd2 bsd3 issl mit ])",
    'lib.concatMapStringsSep "," toString [ 1 2 ]',
    "((lib.makeOverridable ({ a, b ? 1 }: { c = a + b; }) { a = 1; }).override { b = 5; }).c",
    "((lib.makeOverridable ({ a, b ? 1 }: { c = a + b; }) { a = 1; }).override (o: { a = o.a + 1; })).c",
]


def test_its_lib_is_that_of_nixpkgs(nix: Nix, embedded: Nix) -> None:
    """Over a real nixpkgs ($NIXPKGS) the results are compared; else they have to be computed at all."""
    expressions = f"[ {' '.join(f'({expression})' for expression in EXPRESSIONS)} ]"
    results = []
    for one in (embedded, nix):
        flake = json.loads(one.ok("flake metadata", "--json", f"path:{one.nixpkgs}"))["path"]
        lib = "lib.nix" if one is embedded or one.nixpkgs == embedded.nixpkgs else "lib"
        command = ["nix-instantiate", "--eval", "--strict", "--json", "-E"]
        command.append(f"let lib = import {flake}/{lib}; in {expressions}")
        results.append(json.loads(subprocess.run(command, capture_output=True, check=True).stdout))
    assert results[0] == results[1]


def test_the_pins_are_whole() -> None:
    assert list(PINS["pythons"]) == ["python311", "python312", "python313", "python314"]
    for wheels in PINS["pythons"].values():
        for name, pin in wheels.items():
            assert len(bytes.fromhex(pin["sha256"])) == 32, name
            assert pin["file"].endswith(".tar.gz" if name in PINS["sources"] else ".whl")
            assert pin["version"] in pin["file"]
            assert set(pin["requires"]) <= set(wheels)
        assert wheels["torch"]["version"] == "2.10.0"


def test_what_is_pinned_is_what_is_fetched(embedded: Nix) -> None:
    """Of each Python, pip is asked for the same files by Nix as when they were pinned."""
    commands = embedded.eval(
        f"path:{embedded.nixpkgs}#legacyPackages.x86_64-linux",
        "set: builtins.mapAttrs (python: _: set.${python}.pkgs.numpy.src.buildCommand) set.pins.pythons",
    )
    assert commands.keys() == PINS["pythons"].keys()
    for python, command in commands.items():
        options = " ".join(target(int(python.removeprefix("python3")), PINS["platforms"]))
        assert f" {options} " in " ".join(command.split())


def test_platforms_and_pythons_stand_in_the_pins_alone() -> None:
    sources = [*(ROOT / "pkgs").rglob("*.nix"), *(ROOT / "pyhelpers" / "src").rglob("*.py")]
    assert len(sources) > 50
    # All but the name of a wheel in an example.
    written = re.compile(r"manylinux(?!_2_28_x86_64\.whl)")
    assert [path for path in sources if written.search(path.read_text())] == []
    project = tomllib.loads((ROOT / "pyhelpers" / "pyproject.toml").read_text())["project"]
    told = [name.rsplit(" ", 1)[1] for name in project["classifiers"] if ":: Python :: 3." in name]
    pinned = [f"3.{python.removeprefix('python3')}" for python in PINS["pythons"]]
    assert told == pinned
    assert project["requires-python"] == f">={pinned[0]}"


def test_nothing_is_fetched_that_a_build_does_not_need(embedded: Nix) -> None:
    """What makes new pins belongs to the command line for them."""
    for name, needed in {"cli.withoutPins": False, f"{FLAGSHIP}.tests.verify": False, "cli": True}.items():
        paths = embedded.ok("path-info", "--recursive", "--derivation", f".#{name}")
        assert [f"-{pins}-" in paths for pins in ("nix-prefetch-github", "pip")] == [needed, needed]


def test_overriding_twice(embedded: Nix) -> None:
    """Attributes and arguments can be overridden in any order, as in nixpkgs."""
    found = embedded.eval(
        ".#legacyPackages.x86_64-linux.mkPytorchVariant",
        """make: let
          p = make { gpu = "sm90"; cpu = "avx2"; };
          q = p.overrideAttrs (old: { pname = old.pname + "-mine"; });
          r = q.overrideAttrs (final: old: { version = "${old.version}+${final.pname}"; });
          s = r.override { gpuTargets = [ "8.0" ]; };
          # A name of one's own stays with what it was made for.
          same = s.drvPath != r.drvPath;
        in { inherit (q) pname; inherit (r) version name; inherit same; }""",
    )
    assert found["pname"].endswith("-sm90-mine")
    assert found["version"].endswith("-sm90-mine")
    assert found["name"].startswith("python3.11-pytorch-")
    assert found["same"]


def test_a_shell_has_the_variants_python(embedded: Nix) -> None:
    program = "import torch; print(torch._C._cuda_getArchFlags())"
    assert embedded.ok("develop", f".#{FLAGSHIP}", "--command", "python", "-c", program) == "sm_90\n"
