"""What the pins of a flake give, and other pins for it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from pytorch_variants import nix
from pytorch_variants.errors import UserError
from pytorch_variants.pins import flake_lock, github, wheels
from pytorch_variants.pins.versions import (
    NAMES,
    Versions,
    regressions,
    unmet,
    versions,
)

EMBEDDED = "embedded"

_INPUTS = """
{ path }:
let
  flake = /. + path + "/flake.nix";
in
if builtins.pathExists flake then builtins.attrNames ((import flake).inputs or { }) else [ ]
"""


@dataclass(frozen=True)
class Pin:
    """One input. `nar_hash` is in SRI form, `last_modified` in Unix time; None where the lock has none.

    `versions` is None where they are not known or there are none, and `note` says why.
    """

    name: str
    reference: str
    rev: str | None
    nar_hash: str | None
    last_modified: int | None
    versions: Versions | None
    note: str


@dataclass(frozen=True)
class WheelPins:
    """A release of the embedded set; the number of files and their bytes are in the order of the Pythons."""

    system: str
    torch: str
    cuda: str
    pythons: tuple[str, ...]
    files: tuple[int, ...]
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Change:
    """An update that has been prepared: what it is from and to, and why it must not be, if so.

    `rows` are name, before and after. `changes` says whether there is anything to write, which `apply` does.
    """

    what: str
    rows: tuple[tuple[str, str, str], ...]
    objections: tuple[str, ...]
    changes: bool
    apply: Callable[[], None]


def wheels_file(directory: Path) -> Path:
    """Where a flake that has the embedded set keeps its pins."""
    return directory / "pkgs" / "embedded" / "wheels.json"


def _stored_versions(nar_hash: object) -> tuple[Versions | None, str]:
    """The versions that an input in the store gives, and if there are none the reason."""
    try:
        tree = nix.fixed_path("source", nar_hash)
        if not tree.exists():
            return None, "not in the store"
        found = versions(tree)
    except UserError as error:
        return None, str(error)
    return found, "" if found else "not a package set"


# The last second of the year 9999: what is later is no date to Python.
_LAST = 253402300799


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def read_pins(lock: flake_lock.Lock, nixpkgs: Path | None = None) -> list[Pin]:
    """The flake's own inputs with what they give. Needs no network.

    `nixpkgs` is a directory to read the versions of the input nixpkgs from, instead of the store.
    """
    pins = []
    for name, node in lock.own().items():
        locked = node["locked"]
        if nixpkgs is not None and name == "nixpkgs":
            found, note = versions(nixpkgs), f"of {nixpkgs}"
        else:
            found, note = _stored_versions(locked.get("narHash"))
        date = locked.get("lastModified")
        pins.append(
            Pin(
                name=name,
                reference=flake_lock.reference(node["original"]),
                rev=_text(locked.get("rev")),
                nar_hash=_text(locked.get("narHash")),
                last_modified=date if type(date) is int and 0 <= date <= _LAST else None,
                versions=found,
                note=note,
            )
        )
    return pins


def read_wheel_pins(pins: Mapping[str, Any]) -> tuple[WheelPins, ...]:
    """What the embedded set's pins give, those that are to be made yet aside."""
    return tuple(_release(release) for release in pins["releases"] if "pythons" in release)


def _release(release: Mapping[str, Any]) -> WheelPins:
    pythons = release["pythons"]
    return WheelPins(
        system=release["system"],
        torch=", ".join(sorted({str(wheels["torch"]["version"]) for wheels in pythons.values()})),
        cuda=release["cuda"],
        pythons=tuple(f"3.{name.removeprefix('python3')}" for name in pythons),
        files=tuple(len(wheels) for wheels in pythons.values()),
        sizes=tuple(sum(pin["size"] for pin in wheels.values()) for wheels in pythons.values()),
    )


def _objections(
    before: Versions | None,
    after: Versions | None,
    requirements: Sequence[Requirement],
    allow_downgrade: bool,
) -> tuple[str, ...]:
    found = list(unmet(after, requirements))
    if not allow_downgrade:
        found += (f"{line}; --allow-downgrade lets it" for line in regressions(before, after))
    return tuple(found)


def _version_rows(before: Versions | None, after: Versions | None) -> list[tuple[str, str, str]]:
    return [
        (name, getattr(before, name, None) or "unknown", getattr(after, name, None) or "none")
        for name in NAMES
        if before or after
    ]


def _repository(name: str, node: Mapping[str, Any], to: str | None) -> tuple[str, str, str | None]:
    """Owner, repository, and the branch, tag or revision to go to. Raises UserError."""
    locked, original = node["locked"], node["original"]
    by_hand = f"nix flake update {name} does"
    types = [locked.get("type"), original.get("type")]
    if types != ["github", "github"] or locked.get("host", "github.com") != "github.com":
        raise UserError(f"{name}: not an input from GitHub, which alone is updated here; {by_hand}")
    if node.get("inputs"):
        raise UserError(f"{name}: it has inputs of its own, which are not updated here; {by_hand}")
    if "rev" in original:
        raise UserError(f"{name}: flake.nix itself names the revision {original['rev']}; change it there")
    owner, repo = locked.get("owner"), locked.get("repo")
    if not all(isinstance(part, str) and re.fullmatch("[A-Za-z0-9._-]+", part) for part in (owner, repo)):
        raise UserError(
            f"{name}: {owner}/{repo} is no repository of GitHub's; restore flake.lock (git checkout)"
        )
    return str(owner), str(repo), to or original.get("ref")


def _fetched_versions(owner: str, repo: str, locked: Mapping[str, Any]) -> Versions | None:
    """What the pinned revision gives, fetched if the store has not got it."""
    try:
        tree = nix.fixed_path("source", locked.get("narHash"))
        if not tree.exists():
            github.prefetch(owner, repo, str(locked.get("rev")))
        if not tree.exists():
            raise UserError("its narHash in flake.lock is not that of its revision")
        return versions(tree)
    except UserError as error:
        raise UserError(
            f"what is pinned cannot be compared with ({error}); --allow-downgrade updates all the same"
        ) from None


def prepare(
    lock: flake_lock.Lock,
    name: str,
    to: str | None,
    requirements: Sequence[Requirement],
    allow_downgrade: bool,
) -> Change:
    """Another revision for an input: what it changes and whether it may. Needs the network; writes nothing.

    `to` is a branch, a tag or a revision of 40 hexadecimal digits; None takes what flake.nix follows.
    Raises UserError where the revision or its versions cannot be had.
    """
    key, node = flake_lock.locked(lock, name)
    owner, repo, target = _repository(name, node, to)
    locked = node["locked"]
    commit = github.prefetch(owner, repo, target)
    tree = nix.fixed_path("source", commit.nar_hash)
    if node.get("flake", True) and nix.evaluate(_INPUTS, path=str(tree)):
        raise UserError(f"{name}: {commit.rev} has inputs of its own; nix flake update {name} locks them too")
    after = versions(tree)
    if allow_downgrade:
        before, _ = _stored_versions(locked.get("narHash"))
    else:
        before = _fetched_versions(owner, repo, locked)
    to_write = {"rev": commit.rev, "narHash": commit.nar_hash, "lastModified": commit.last_modified}
    return Change(
        what=f"{name}, {owner}/{repo}",
        rows=(
            *((field, str(locked.get(field)), str(value)) for field, value in to_write.items()),
            *_version_rows(before, after),
        ),
        objections=_objections(before, after, requirements, allow_downgrade),
        changes=any(locked.get(field) != value for field, value in to_write.items()),
        apply=lambda: flake_lock.write(flake_lock.with_locked(lock, key, to_write)),
    )


def prepare_wheels(path: Path, requirements: Sequence[Requirement], allow_downgrade: bool) -> Change:
    """Other pins for the embedded set, as `prepare` for an input. Needs the network; writes nothing."""
    old = wheels.read(path)
    new = wheels.renewed(old)
    rows: list[tuple[str, str, str]] = []
    objections: list[str] = []
    for old_release, new_release in zip(old["releases"], new["releases"], strict=True):
        before, after = _wheel_versions(old_release), _wheel_versions(new_release)
        of = f"{new_release['system']}, CUDA {new_release['cuda']}"
        rows += (
            *((f"{name}, {of}", was, becomes) for name, was, becomes in _version_rows(before, after)),
            *_moved(old_release.get("pythons", {}), new_release["pythons"], of),
        )
        objections += _objections(before, after, requirements, allow_downgrade)
    return Change(
        what=f"{EMBEDDED}, {path}",
        rows=tuple(rows),
        objections=tuple(dict.fromkeys(objections)),
        changes=new != old,
        apply=lambda: wheels.write(path, new),
    )


def _moved(old: Mapping[str, Any], new: Mapping[str, Any], of: str) -> Iterator[tuple[str, str, str]]:
    for python, wheels_of in new.items():
        before = old.get(python, {})
        for name in sorted(before | wheels_of):
            was, becomes = _file(before.get(name)), _file(wheels_of.get(name))
            if was != becomes:
                yield f"{name}, {python}, {of}", was, becomes


def _file(pin: Mapping[str, Any] | None) -> str:
    return f"{pin['version']} {pin['sha256'][:8]}" if pin else "none"


def _wheel_versions(release: Mapping[str, Any]) -> Versions | None:
    if "pythons" not in release:
        return None
    first = next(iter(release["pythons"]))
    return Versions(
        torch=release["pythons"][first]["torch"]["version"],
        cuda=release["cuda"],
        python=f"3.{first.removeprefix('python3')}",
    )
