"""The lock commands, with the real nix-prefetch-github, Git and Nix, against a server on loopback."""

import base64
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from commands import call
from loopback import FIRST, REPOSITORY, SECOND, GitHub, git, locked_flake, nix_flake

from pytorch_variants.pins import flake_lock as lockfile

WHEELS = Path(REPOSITORY) / "wheels.json"


def change(github: GitHub, *edits: tuple[str, str], file: str = "wheels.json", date: int = SECOND) -> str:
    path = github.root / REPOSITORY / file
    text = path.read_text()
    for old, new in edits:
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return github.commit(REPOSITORY, date)


def newer_torch(github: GitHub) -> str:
    return change(github, ('"version": "2.10.0"', '"version": "2.11.0"'))


def locked(flake: Path) -> dict[str, Any]:
    node: dict[str, Any] = json.loads((flake / "flake.lock").read_text())["nodes"]["nixpkgs"]["locked"]
    return node


def test_an_update_writes_what_nix_writes(github: GitHub, flake: Path, tmp_path: Path) -> None:
    rev = newer_torch(github)
    shutil.copytree(flake, tmp_path / "nix")
    nix_flake("update", "--flake", f"path:{tmp_path / 'nix'}")
    code, table, error = call("lock", "update", "nixpkgs", "--flake", flake)
    assert (code, error) == (0, "")
    assert locked(flake)["rev"] == rev
    assert locked(flake)["lastModified"] == SECOND
    assert (flake / "flake.lock").read_bytes() == (tmp_path / "nix" / "flake.lock").read_bytes()
    assert "2.11.0" in table
    # Git's own protocol for the branch, GitHub's archive for the tree.
    assert any("/acme/packages.git/info/refs" in request for request in github.requests)
    assert f"github.com /{REPOSITORY}/archive/{rev}.tar.gz" in github.requests


def test_what_is_written_is_in_the_store(github: GitHub, flake: Path) -> None:
    """So that what the new pin gives is shown, and built, without another download."""
    newer_torch(github)
    assert call("lock", "update", "--flake", flake)[0] == 0
    github.requests.clear()
    code, text, _ = call("lock", "show", "--flake", flake, "--json")
    [pin] = json.loads(text)["inputs"]
    assert code == 0
    assert pin["versions"] == {"torch": "2.11.0", "cuda": "12.8", "python": "3.11"}
    assert pin["last_modified"] == SECOND
    assert pin["reference"] == f"github:{REPOSITORY}"
    assert github.requests == []


def test_up_to_date(flake: Path) -> None:
    before = (flake / "flake.lock").stat()
    code, text, _ = call("lock", "update", "--flake", flake)
    assert code == 0
    assert "up to date" in text
    assert (flake / "flake.lock").stat().st_mtime_ns == before.st_mtime_ns


@pytest.mark.parametrize("kind", ["branch", "slashed branch", "tag", "annotated tag", "revision"])
def test_to(github: GitHub, flake: Path, kind: str) -> None:
    tree = github.root / REPOSITORY
    to = {"branch": "stable", "slashed branch": "release/26.05", "tag": "v1", "annotated tag": "v2"}.get(kind)
    if kind in ("branch", "slashed branch"):
        git(tree, "checkout", "--quiet", "-b", str(to))
    rev = newer_torch(github)
    if kind == "tag":
        git(tree, "tag", str(to))
    elif kind == "annotated tag":
        git(tree, "tag", "--annotate", "--message", "a release", str(to))
    if kind in ("branch", "slashed branch"):
        git(tree, "checkout", "--quiet", "main")
    else:
        change(github, ('"version": "2.11.0"', '"version": "2.12.0"'), date=SECOND + 1)
    code, _, error = call("lock", "update", "--flake", flake, "--to", to or rev)
    assert (code, error) == (0, "")
    assert locked(flake)["rev"] == rev
    # Nix sees nothing to mend: what is followed is as flake.nix says.
    assert nix_flake("lock", "--no-update-lock-file", f"path:{flake}").returncode == 0


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        (
            "wheels.json",
            '"version": "2.10.0"',
            '"version": "2.9.1"',
            "torch would go from 2.10.0 back to 2.9.1",
        ),
        ("wheels.json", '"cuda": "12.8"', '"cuda": "12.6"', "cuda would go from 12.8 back to 12.6"),
        ("default.nix", "final.${default}", "final.python39", None),
        ("wheels.json", '"version": "2.10.0"', '"version": "unstable"', "from 2.10.0 back to unstable"),
    ],
    ids=["torch", "cuda", "python", "no order"],
)
def test_a_regression_is_refused_unless_told(
    github: GitHub, flake: Path, file: str, old: str, new: str, line: str | None
) -> None:
    if line is None:
        # A Python that the pins have, but older: the first commit has to be of a later one.
        change(github, (old, "final.python313"), file=file, date=FIRST + 1)
        assert call("lock", "update", "--flake", flake)[0] == 0
        old, new, line = "final.python313", "final.python312", "python would go from 3.13 back to 3.12"
    change(github, (old, new), file=file)
    before = (flake / "flake.lock").read_bytes()
    code, text, error = call("lock", "update", "--flake", flake)
    assert (code, error) == (1, "")
    assert line in " ".join(text.split())
    assert (flake / "flake.lock").read_bytes() == before
    told = ("lock", "update", "--flake", flake, "--allow-downgrade")
    assert call(*told, "--require", "torch>=99").code == 1
    assert call(*told).code == 0
    assert locked(flake)["lastModified"] == SECOND


def test_what_is_replaced_is_fetched_to_be_compared_with(github: GitHub, flake: Path) -> None:
    """The pinned tree is not in the store; Nix fetched it only as far as its hash needs it."""
    first = json.loads((flake / "flake.lock").read_text())
    # A commit that no store has: nothing has ever been unpacked from it.
    (github.root / REPOSITORY / "unique").write_text(str(time.time_ns()))
    node = first["nodes"]["nixpkgs"]["locked"]
    node["rev"] = github.commit(REPOSITORY, FIRST + 5)
    archive = git(github.root / REPOSITORY, "archive", "--prefix=x/", node["rev"])
    unpacked = flake.parent / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "-x", "-C", unpacked], input=archive, check=True)
    features = ("--extra-experimental-features", "nix-command")
    hashed = subprocess.run(
        ["nix", *features, "hash", "path", unpacked / "x"], check=True, capture_output=True, text=True
    )
    node["narHash"] = hashed.stdout.strip()
    (flake / "flake.lock").write_text(lockfile.text(first))
    code, text, _ = call("lock", "show", "--flake", flake)
    assert code == 0
    assert "not in the store" in text
    change(github, ('"version": "2.10.0"', '"version": "2.9.0"'))
    code, text, _ = call("lock", "update", "--flake", flake, "--json")
    assert code == 1
    assert {"name": "torch", "before": "2.10.0", "after": "2.9.0"} in json.loads(text)["rows"]


def test_what_cannot_be_compared_with_is_replaced_only_if_told(github: GitHub, flake: Path) -> None:
    newer_torch(github)
    data = json.loads((flake / "flake.lock").read_text())
    node = data["nodes"]["nixpkgs"]["locked"]
    absent = base64.b64encode(os.urandom(32)).decode()
    for rev in ("0" * 40, node["rev"]):
        node |= {"rev": rev, "narHash": f"sha256-{absent}"}
        before = lockfile.text(data)
        (flake / "flake.lock").write_text(before)
        code, _, error = call("lock", "update", "--flake", flake)
        assert code == 2
        assert "cannot be compared with" in error
        assert "--allow-downgrade" in error
        assert (flake / "flake.lock").read_text() == before
    assert call("lock", "update", "--flake", flake, "--allow-downgrade").code == 0
    assert locked(flake)["lastModified"] == SECOND


def test_a_revision_with_inputs_of_its_own(github: GitHub, flake: Path) -> None:
    """Its inputs would have to be locked too, which is Nix's work."""
    change(github, ("outputs =", "inputs.x.url = ''path:/x''; outputs ="), file="flake.nix")
    before = (flake / "flake.lock").read_bytes()
    code, _, error = call("lock", "update", "--flake", flake)
    assert code == 2
    assert "nix flake update nixpkgs" in error
    assert (flake / "flake.lock").read_bytes() == before


def test_updates_that_github_does_not_answer(github: GitHub, flake: Path) -> None:
    newer_torch(github)
    before = (flake / "flake.lock").read_bytes()
    for to, way_out in (
        ("no/such", "no branch or tag"),
        ("f" * 40, "has no f"),
        ("e" * 39, "40 hexadecimal"),
    ):
        code, _, error = call("lock", "update", "--flake", flake, "--to", to)
        assert code == 2
        assert way_out in error
    github.limited = True
    code, _, error = call("lock", "update", "--flake", flake)
    assert code == 2
    assert "set GITHUB_TOKEN" in error
    assert (flake / "flake.lock").read_bytes() == before


@pytest.mark.parametrize(
    ("requirements", "unmet"),
    [
        (["torch>=2.9,<3", "cuda>=12.8", "python>=3.11"], []),
        (["torch==2.11.*"], []),
        (["torch>=2.12"], ["torch>=2.12"]),
        (["cuda>=13", "python<3.11", "torch!=2.11.0"], ["cuda>=13", "python<3.11", "torch!=2.11.0"]),
        (["cuda ~= 12.8"], []),
        (["cuda>=12.10"], ["cuda>=12.10"]),
    ],
)
def test_requirements(github: GitHub, flake: Path, requirements: list[str], unmet: list[str]) -> None:
    newer_torch(github)
    before = (flake / "flake.lock").read_bytes()
    options = [part for text in requirements for part in ("--require", text)]
    code, text, error = call("lock", "update", "--flake", flake, *options, "--json")
    assert error == ""
    assert code == bool(unmet)
    report = json.loads(text)
    assert [line.split(" is required")[0] for line in report["objections"]] == unmet
    assert report["written"] is not bool(unmet)
    assert ((flake / "flake.lock").read_bytes() == before) is bool(unmet)


def test_every_other_input_stays_byte_for_byte(github: GitHub, tmp_path: Path) -> None:
    github.commit(REPOSITORY, FIRST)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "flake.nix").write_text(
        f"""{{
          inputs.deep.url = "github:{REPOSITORY}";
          inputs.nixpkgs.url = "github:{REPOSITORY}";
          outputs = _: {{ }};
        }}"""
    )
    (tmp_path / "daten").write_text("«ä»\n")
    flake = locked_flake(
        tmp_path / "flake",
        f"""
        inputs.nixpkgs.url = "github:{REPOSITORY}/main";
        inputs.second.url = "github:{REPOSITORY}";
        inputs.other.url = "path:{tmp_path / "other"}";
        inputs.other.inputs.nixpkgs.follows = "nixpkgs";
        inputs.alias.follows = "other/deep";
        inputs.file = {{ url = "path:{tmp_path / "daten"}"; flake = false; }};
        """,
    )
    assert call("lock", "check", "--flake", flake)[0] == 0
    newer_torch(github)
    shutil.copytree(flake, tmp_path / "nix")
    nix_flake("update", "nixpkgs", "--flake", f"path:{tmp_path / 'nix'}")
    assert call("lock", "update", "nixpkgs", "--flake", flake)[0] == 0
    assert (flake / "flake.lock").read_bytes() == (tmp_path / "nix" / "flake.lock").read_bytes()
    assert call("lock", "check", "--flake", flake)[0] == 0
    # And it reads and writes Nix's own text unchanged.
    text = (flake / "flake.lock").read_text()
    assert lockfile.text(json.loads(text)) == text


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """The process that writes is killed over and over: the file is the old one or the new one, whole."""
    (tmp_path / "flake.nix").write_text("{ }")
    texts = [
        lockfile.text({"nodes": {"root": {"inputs": {}}}, "root": "root", "version": 7, "x": letter * 300000})
        for letter in "ab"
    ]
    (tmp_path / "flake.lock").write_text(texts[0])
    program = f"""
import json, pathlib
from pytorch_variants import lockfile
path = pathlib.Path({str(tmp_path)!r})
locks = [lockfile.Lock(path / "flake.lock", json.loads(text)) for text in {texts!r}]
print(flush=True)
while True:
    for lock in locks:
        lockfile.write(lock)
"""
    seen = set()
    delays = random.Random(5)
    for _ in range(20):
        with subprocess.Popen([sys.executable, "-"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
            assert writer.stdin is not None
            assert writer.stdout is not None
            writer.stdin.write(program.encode())
            writer.stdin.close()
            writer.stdout.readline()
            deadline = time.monotonic() + delays.uniform(0, 0.03)
            while time.monotonic() < deadline:
                assert (tmp_path / "flake.lock").read_text() in texts
            writer.send_signal(signal.SIGKILL)
        text = (tmp_path / "flake.lock").read_text()
        assert text in texts
        seen.add(text[-4:])
    assert seen


def test_an_update_killed_at_any_moment(github: GitHub, flake: Path) -> None:
    """And the next one is not disturbed by what the killed one has left."""
    newer_torch(github)
    command = [sys.executable, "-m", "pytorch_variants", "lock", "update", "--flake", str(flake)]
    file = flake / "flake.lock"
    old = file.read_bytes()
    start = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    duration = time.monotonic() - start
    new = file.read_bytes()
    assert new != old
    for part in range(1, 10):
        file.write_bytes(old)
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as update:
            time.sleep(duration * part / 9)
            update.kill()
        assert file.read_bytes() in (old, new)
    subprocess.run(command, check=True, capture_output=True)
    assert file.read_bytes() == new


def test_the_file_keeps_its_mode_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("{}")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "flake.lock").symlink_to("real")
    lock = lockfile.Lock(tmp_path / "flake.lock", {"nodes": {}, "root": "ä", "version": 7})
    lockfile.write(lock)
    assert (tmp_path / "flake.lock").is_symlink()
    assert (tmp_path / "real").stat().st_mode & 0o777 == 0o640
    assert json.loads((tmp_path / "real").read_text()) == lock.data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flake.lock", "real"]
