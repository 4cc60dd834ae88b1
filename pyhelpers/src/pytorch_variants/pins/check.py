"""Whether flake.lock is that of flake.nix, whole, and gives what is required; the embedded set's pins too."""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pytorch_variants import nix
from pytorch_variants.errors import UserError
from pytorch_variants.findings import (
    Finding,
    expect,
    ok,
    wrong,
)
from pytorch_variants.pins.flake_lock import (
    Lock,
    reference,
)
from pytorch_variants.pins.versions import (
    meets,
    unmet,
    versions,
)

# flake.nix's own inputs, as Nix reads them: by attributes or by URL, and those that are only named by the
# arguments of `outputs`.
_DECLARED = """
{ path }:
let
  flake = import (/. + path + "/flake.nix");
  named = builtins.mapAttrs (_: _: { }) (removeAttrs (builtins.functionArgs flake.outputs) [ "self" ]);
  original =
    name: input:
    if !(input ? url) then
      { type = "indirect"; id = name; } // removeAttrs input [ "flake" "inputs" ]
    else if builtins.match "[.].*" input.url != null then
      { type = "path"; path = input.url; }
    else
      builtins.parseFlakeRef input.url;
  follows = text: builtins.filter (part: builtins.isString part && part != "") (builtins.split "/" text);
in
builtins.mapAttrs (
  name: input:
  {
    flake = input.flake or true;
    inputs = builtins.mapAttrs (_: nested: follows (nested.follows or "")) (input.inputs or { });
  }
  // (if input ? follows then { follows = follows input.follows; } else { original = original name input; })
) (named // flake.inputs or { })
"""


def _against_flake(lock: Lock) -> Iterator[Finding]:
    """Every input of flake.nix is in flake.lock, from where flake.nix says, and no other."""
    declared = nix.evaluate(_DECLARED, path=str(lock.path.parent.absolute()))
    own = lock.inputs(lock.root)
    yield expect(
        "inputs", ", ".join(sorted(declared)) or "none", ", ".join(sorted(own)) or "none", "flake.nix"
    )
    for name in sorted(declared.keys() & own.keys()):
        wanted, node = declared[name], own[name]
        if "follows" in wanted or not isinstance(node, str):
            follows = "/".join(wanted.get("follows", [])) or "a lock of its own"
            found = "a lock of its own" if isinstance(node, str) else "/".join(node)
            yield expect("follows", follows, found, name)
            continue
        locked = lock.nodes[node]
        same = wanted["original"] == locked["original"]
        sides = (reference(wanted["original"]), reference(locked["original"]))
        yield (ok if same else wrong)("reference", *sides, name)
        yield expect("is a flake", str(wanted["flake"]), str(locked.get("flake", True)), name)
        for nested, target in wanted["inputs"].items():
            if target:
                found_target = lock.inputs(node).get(nested)
                found = "/".join(found_target) if isinstance(found_target, list) else "a lock of its own"
                yield expect("follows", "/".join(target), found, f"{name}/{nested}")


def _well_formed(name: str, locked: Mapping[str, Any]) -> Iterator[Finding]:
    """The hashes and the date of one locked reference."""
    sri = locked.get("narHash")
    yield (ok if nix.is_sri(sri) else wrong)("narHash", "SHA-256, SRI", str(sri), name)
    if "rev" in locked or locked.get("type") in ("git", "github", "gitlab", "sourcehut"):
        rev = locked.get("rev")
        well = isinstance(rev, str) and re.fullmatch("[0-9a-f]{40}", rev)
        yield (ok if well else wrong)("rev", "40 hexadecimal digits", str(rev), name)
    date = locked.get("lastModified", 0)
    # A day for clocks that differ. Git trees without a date, and paths, have none.
    sane = type(date) is int and 0 <= date <= time.time() + 86400
    yield (ok if sane else wrong)("lastModified", "Unix time, not in the future", str(date), name)


def _requirements(requirements: Sequence[Requirement], lock: Lock, path: Path | None) -> Iterator[Finding]:
    """What is required of the nixpkgs that is pinned. Raises UserError if it is nowhere to be read."""
    if not requirements:
        return
    node = lock.own().get("nixpkgs")
    if node is None:
        raise UserError(f"{lock.path}: no input nixpkgs to require versions of")
    tree = path or nix.fixed_path("source", node["locked"].get("narHash"))
    if not tree.exists():
        raise UserError(
            "the pinned nixpkgs is not in the store, so what it gives cannot be checked: "
            f"nix flake archive {lock.path.parent} fetches it, or write --nixpkgs and the path of a copy"
        )
    found = versions(tree)
    for requirement in requirements:
        lines = list(unmet(found, [requirement]))
        version = getattr(found, requirement.name, None)
        yield (wrong if lines else ok)("requirement", str(requirement), str(version), "nixpkgs")


def _problem(pin: Mapping[str, Any], names: set[str]) -> str | None:
    """What is wrong with the pin of one file."""
    if not re.fullmatch("[0-9a-f]{64}", pin["sha256"]):
        return f"its SHA-256 is {pin['sha256']!r}"
    if pin["version"] not in pin["file"] or not pin["file"].endswith((".whl", ".tar.gz")):
        return f"its file is {pin['file']!r}, of version {pin['version']}"
    if type(pin["size"]) is not int or pin["size"] <= 0:
        return f"its size is {pin['size']}"
    missing = ", ".join(sorted(set(pin["requires"]) - names))
    return f"it requires {missing}, not pinned" if missing else None


def check_wheels(pins: Mapping[str, Any]) -> Iterator[Finding]:
    """The embedded set's pins are whole, and are what its "requirements" ask for."""
    for release in pins["releases"]:
        texts = (*release["requirements"], *pins["requirements"], *pins["sources"])
        yield from _check_release(release, [Requirement(text) for text in texts])


def _check_release(release: Mapping[str, Any], wanted: Sequence[Requirement]) -> Iterator[Finding]:
    for python, wheels in release.get("pythons", {}).items():
        where = f"{python}, CUDA {release['cuda']}, {release['system']}"
        problems = [
            f"{name}: {problem}" for name, pin in wheels.items() if (problem := _problem(pin, set(wheels)))
        ]
        whole = f"{len(wheels)} whole pins"
        yield expect("wheels", whole, "; ".join(problems) or whole, where)
        missed = ", ".join(
            str(requirement)
            for requirement in wanted
            if requirement.name not in wheels or not meets(requirement, wheels[requirement.name]["version"])
        )
        met = f"{len(wanted)} met"
        yield expect("requirements", met, f"not met: {missed}" if missed else met, where)


def check(lock: Lock, requirements: Sequence[Requirement], nixpkgs: Path | None) -> list[Finding]:
    """Hold the lock against the flake beside it. Needs no network.

    `nixpkgs` is a directory to read the versions from, instead of the store. Raises UserError where the
    flake cannot be read, or versions are required of a nixpkgs that is not there.
    """
    nodes = ((name, node) for name, node in lock.nodes.items() if name != lock.root)
    return [
        *_against_flake(lock),
        *(finding for name, node in nodes for finding in _well_formed(name, node["locked"])),
        *_requirements(requirements, lock, nixpkgs),
    ]
