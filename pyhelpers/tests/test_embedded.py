"""The embedded package set is what it stands in for."""

import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from conftest import FLAGSHIP, PYTHON, PYTHON_NAME, ROOT, Nix

from pytorch_variants.pins.wheels import tags
from pytorch_variants.pip import target

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
    assert PINS["pythons"] == ["3.11", "3.12", "3.13", "3.14"]
    for release in PINS["releases"]:
        assert list(release["pythons"]) == [f"python{python.replace('.', '')}" for python in PINS["pythons"]]
        for wheels in release["pythons"].values():
            for name, pin in wheels.items():
                assert len(bytes.fromhex(pin["sha256"])) == 32, name
                assert pin["file"].endswith(".tar.gz" if name in PINS["sources"] else ".whl")
                assert pin["version"] in pin["file"]
                assert set(pin["requires"]) <= set(wheels)
            # All that runs there, and for that machine alone.
            machines = set(re.findall("x86_64|aarch64", " ".join(pin["file"] for pin in wheels.values())))
            assert machines == {release["system"].removesuffix("-linux")}
    [x86, *_] = (release for release in PINS["releases"] if release["system"] == "x86_64-linux")
    assert (x86["cuda"], x86["pythons"]["python311"]["torch"]["version"]) == ("12.8", "2.10.0")


@pytest.mark.parametrize("release", PINS["releases"], ids=lambda one: f"{one['system']}, CUDA {one['cuda']}")
def test_what_pytorch_needs_is_needed_by_it(release: dict[str, Any]) -> None:
    """NVIDIA's libraries are asked for as extras of a package since CUDA 13."""
    for wheels in release["pythons"].values():
        found, todo = set[str](), ["torch"]
        while todo:
            name = todo.pop()
            if name not in found:
                found.add(name)
                todo += wheels[name]["requires"]
        nvidia = {name for name in wheels if name.startswith("nvidia-")} - {"nvidia-ml-py"}
        assert nvidia <= found
        assert len(nvidia) > 12


def test_what_is_pinned_is_what_is_fetched(embedded: Nix) -> None:
    """Of each system and Python, pip is asked for the same files by Nix as when they were pinned."""
    for machine in ("x86_64", "aarch64"):
        commands = embedded.eval(
            f"path:{embedded.nixpkgs}#legacyPackages.{machine}-linux",
            """set: map (version:
              let name = "python${builtins.replaceStrings [ "." ] [ "" ] version}"; in
              set.${name}.pkgs.numpy.src.buildCommand
            ) set.pins.pythons""",
        )
        for python, command in zip(PINS["pythons"], commands, strict=True):
            options = " ".join(target(int(python.removeprefix("3.")), tags(PINS, machine)))
            assert f" {options} " in " ".join(command.split())


def test_cuda_in_a_name_chooses_the_release(embedded: Nix) -> None:
    """With a driver it is the newest that this runs, and always one that has code for the GPU."""
    newest = PINS["releases"][1]
    torch = newest["pythons"][PYTHON_NAME]["torch"]["version"]
    found = embedded.eval(
        ".#legacyPackages.x86_64-linux",
        """p: let named = name: [ p.${name}.version p.${name}.cuda ]; in {
          default = named "pytorch-bin-sm90";
          new = named "pytorch-bin-cuda13_0-sm90";
          spelled = named "pytorch-python312-bin-cuda13_0-sm90";
          other = named "pytorch-bin-python312-cuda12_8-sm90";
          compiled = named "pytorch-cuda13_0-sm120-avx2";
          vision = p.torchvision-cuda13_0-sm120-avx2.version;
        }""",
    )
    old, new = ["2.10.0", "12.8"], [torch, newest["cuda"]]
    vision = newest["pythons"][PYTHON_NAME]["torchvision"]["version"]
    expected = {"default": old, "new": new, "spelled": new, "other": old, "compiled": new, "vision": vision}
    assert found == expected


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["libcuda.so", "libcuda.so.1", "libcuda.so.570.86.15"], ["12.8", "12.8"]),
        (["libcuda.so.1", "libcuda.so.580.65.06"], ["13.0", "12.8"]),
        (["libcuda.so.1.1"], ["12.8", "12.8"]),
    ],
)
def test_the_driver_chooses_the_release(
    files: list[str], expected: list[str], embedded: Nix, tmp_path: Path
) -> None:
    for file in files:
        (tmp_path / file).write_text("")
    shutil.copytree(ROOT / "pkgs" / "embedded", tmp_path / "embedded")
    source = tmp_path / "embedded" / "default.nix"
    source.write_text(source.read_text().replace('"/usr/lib64"', f'"{tmp_path}"'))
    own = Nix(str(tmp_path / "embedded"))
    # sm70 has no code in CUDA 13's.
    function = 'p: map (gpu: p.${gpu}.cuda) [ "pytorch-bin-sm120" "pytorch-sm70-avx2" ]'
    found = own.ok("eval", "--impure", "--json", ".#legacyPackages.x86_64-linux", "--apply", function)
    assert json.loads(found) == expected


def test_arm(embedded: Nix) -> None:
    """Its derivations are made here, of its own wheels."""
    path = embedded.ok("eval", "--raw", ".#packages.aarch64-linux.pytorch-sm90-armv9.environment.drvPath")
    paths = embedded.ok("path-info", "--recursive", "--derivation", path)
    assert "torch-2." in paths
    assert "manylinux_2_28_aarch64.whl.drv" in paths
    assert "x86_64" not in paths


def test_platforms_and_pythons_stand_in_the_pins_alone() -> None:
    sources = [*(ROOT / "pkgs").rglob("*.nix"), *(ROOT / "pyhelpers" / "src").rglob("*.py")]
    assert len(sources) > 50
    # All but the names of wheels in examples.
    written = re.compile(r"manylinux(?!_2_28_x86_64(-sm90)?\.whl)")
    assert [path for path in sources if written.search(path.read_text())] == []
    project = tomllib.loads((ROOT / "pyhelpers" / "pyproject.toml").read_text())["project"]
    told = [name.rsplit(" ", 1)[1] for name in project["classifiers"] if ":: Python :: 3." in name]
    pinned = PINS["pythons"]
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
    assert found["name"].startswith(f"python{PYTHON}-pytorch-")
    assert found["same"]


def test_a_shell_has_the_variants_python(embedded: Nix) -> None:
    program = "import torch; print(torch._C._cuda_getArchFlags())"
    assert embedded.ok("develop", f".#{FLAGSHIP}", "--command", "python", "-c", program) == "sm_90\n"


def test_two_builds_at_once(embedded: Nix) -> None:
    """Without a sandbox Nix begins none while its own HOME is there, and a build could make it."""
    expression = f"""
      (import {ROOT}/pkgs/embedded {{ system = "x86_64-linux"; }}).runCommand "home" {{ }} ''
        mkdir -p "$HOME/.nv"
        [ ! -e /homeless-shelter ]
        echo "$HOME" >"$out"
      ''
    """
    embedded.ok("build", "--impure", "--no-link", "--expr", expression)
