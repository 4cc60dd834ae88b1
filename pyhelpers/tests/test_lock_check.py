"""lock check, and the pins of the embedded package set."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import call
from conftest import ROOT
from loopback import locked_flake, nix_flake
from packaging.version import Version

from pytorch_variants.pins import flake_lock as lockfile


def flake_with_wheels(tmp_path: Path, pins: dict[str, Any]) -> Path:
    """A flake that has an embedded package set, with these pins."""
    (tmp_path / "data").write_text("")
    flake = locked_flake(
        tmp_path / "flake", f'inputs.data = {{ url = "path:{tmp_path / "data"}"; flake = false; }};'
    )
    (flake / "pkgs" / "embedded").mkdir(parents=True)
    (flake / "pkgs" / "embedded" / "wheels.json").write_text(json.dumps(pins))
    return flake


FINDINGS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "no input": (lambda lock: lock["nodes"]["root"]["inputs"].clear(), "inputs"),
    "one more": (lambda lock: lock["nodes"]["root"]["inputs"].update(more="nixpkgs"), "inputs"),
    "another ref": (lambda lock: lock["nodes"]["nixpkgs"]["original"].update(ref="x"), "reference"),
    "another owner": (lambda lock: lock["nodes"]["nixpkgs"]["original"].update(owner="x"), "reference"),
    "no flake": (lambda lock: lock["nodes"]["nixpkgs"].update(flake=False), "is a flake"),
    "it follows": (lambda lock: lock["nodes"]["root"]["inputs"].update(nixpkgs=["other"]), "follows"),
}


@pytest.mark.parametrize(("damage", "check"), FINDINGS.values(), ids=FINDINGS)
def test_check_finds_what_nix_would_mend(
    flake: Path, damage: Callable[[dict[str, Any]], object], check: str
) -> None:
    data = json.loads((flake / "flake.lock").read_text())
    damage(data)
    (flake / "flake.lock").write_text(lockfile.text(data))
    code, text, _ = call("lock", "check", "--flake", flake, "--json")
    assert code == 1
    wrong = [row["check"] for row in json.loads(text)["findings"] if row["status"] == "wrong"]
    assert check in wrong
    # Nix takes the lock's word for what is a flake.
    if check != "is a flake":
        assert nix_flake("lock", "--no-update-lock-file", f"path:{flake}").returncode != 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("narHash", "sha256-AAAA"),
        ("narHash", "sha256:0rrc1hw6a5zkc7zbdqmckc9wnmgrvj8bbwkvdqb1mvddi5vrr3rb"),
        ("narHash", "sha512-tiQ8/qi8I45OOaBBYlVbXoAVkeQzvvTQOv5I45rMw5o="),
        ("narHash", "sha256-tiQ8/qi8I45OOaBBYlVbXoAVkeQzvvTQOv5I45rMw5o"),
        ("narHash", "--version"),
        ("narHash", 5),
        ("rev", "HEAD"),
        ("rev", "EC1A11210589D294F0AC99D3290A27E6C73DFA1D"),
        ("rev", "ec1a1121"),
        ("rev", None),
        ("lastModified", -1),
        ("lastModified", 10**12),
        ("lastModified", 10**30),
        ("lastModified", True),
        ("lastModified", "2026-07-05"),
        ("lastModified", 1.5),
    ],
)
def test_check_finds_what_is_malformed(flake: Path, field: str, value: object) -> None:
    data = json.loads((flake / "flake.lock").read_text())
    data["nodes"]["nixpkgs"]["locked"][field] = value
    (flake / "flake.lock").write_text(json.dumps(data))
    code, text, error = call("lock", "check", "--flake", flake, "--json")
    assert (code, error) == (1, "")
    wrong = [row["check"] for row in json.loads(text)["findings"] if row["status"] == "wrong"]
    assert wrong == [field]
    # And showing it is no trouble.
    assert call("lock", "show", "--flake", flake)[0] == 0


def test_check_of_requirements(flake: Path) -> None:
    embedded = str(ROOT / "pkgs" / "embedded")
    options = ("lock", "check", "--flake", str(flake), "--nixpkgs", embedded)
    assert call(*options, "--require", "torch>=2.10", "--require", "cuda==12.8")[0] == 0
    code, text, _ = call(*options, "--require", "torch>=99")
    assert code == 1
    assert "torch>=99" in text


@pytest.mark.usefixtures("nix")
def test_this_flake_holds() -> None:
    code, text, error = call("lock", "check", "--flake", ROOT)
    assert (code, error) == (0, ""), text
    code, text, _ = call("lock", "show", "--flake", ROOT, "--json")
    for release in json.loads(text)["embedded"]:
        assert release["pythons"] == ["3.11", "3.12", "3.13", "3.14"]
        assert all(size > 3e9 for size in release["sizes"])


@pytest.mark.usefixtures("nix")
@pytest.mark.parametrize(
    ("field", "value", "check"),
    [
        ("sha256", "0" * 63, "wheels"),
        ("sha256", "", "wheels"),
        ("size", 0, "wheels"),
        ("size", True, "wheels"),
        ("file", "torch.zip", "wheels"),
        ("requires", ["nothing-like-it"], "wheels"),
        ("version", "2.9.0", "requirements"),
        ("version", "no version", "requirements"),
    ],
)
def test_check_of_wheels(tmp_path: Path, field: str, value: object, check: str) -> None:
    pins = json.loads((ROOT / "pkgs" / "embedded" / "wheels.json").read_text())
    pins["releases"][1]["pythons"]["python312"]["torch"][field] = value
    flake = flake_with_wheels(tmp_path, pins)
    code, text, error = call("lock", "check", "--flake", flake, "--json")
    assert (code, error) == (1, "")
    wrong = {(row["where"], row["check"]) for row in json.loads(text)["findings"] if row["status"] == "wrong"}
    where = f"python312, CUDA {pins['releases'][1]['cuda']}, x86_64-linux"
    assert (where, check) in wrong
    assert {place for place, _ in wrong} == {where}


@pytest.mark.slow
def test_update_of_the_embedded_set(tmp_path: Path) -> None:
    """The real pip, for one Python: what is older is renewed, what nothing asks for goes, the rest stays."""
    pins = json.loads((ROOT / "pkgs" / "embedded" / "wheels.json").read_text())
    release = pins["releases"][0]
    wheels = release["pythons"]["python312"]
    old = {**wheels, "mdurl": {**wheels["mdurl"], "version": "0.1.1", "file": "mdurl-0.1.1.whl"}}
    one = {**release, "requirements": ["torch==2.10.0"], "pythons": {"python312": old}}
    small = {**pins, "requirements": ["mdurl==0.1.2"], "pythons": ["3.12"], "releases": [one]}
    flake = flake_with_wheels(tmp_path, small)
    code, text, error = call("lock", "update", "embedded", "--flake", flake, "--json")
    assert (code, error) == (0, "")
    rows = {row["name"]: (row["before"][:5], row["after"][:5]) for row in json.loads(text)["rows"]}
    of = "x86_64-linux, CUDA 12.8"
    assert rows[f"mdurl, python312, {of}"] == ("0.1.1", "0.1.2")
    assert rows[f"rich, python312, {of}"][1] == "none"
    assert rows[f"cuda, {of}"] == ("12.8", "12.8")
    written = json.loads((flake / "pkgs" / "embedded" / "wheels.json").read_text())
    [written_release] = written["releases"]
    [renewed] = written_release["pythons"].values()
    assert {"torch", "mdurl", "nix-prefetch-github"} <= renewed.keys()
    for name, pin in renewed.items():
        # The registry may have got a later one meanwhile.
        if pin["version"] == wheels[name]["version"]:
            # numpy is required of torch's users, not of torch.
            assert pin == {**wheels[name], "requires": pin["requires"]}
        else:
            assert Version(pin["version"]) > Version(wheels[name]["version"])
    assert written == {**small, "releases": [{**one, "pythons": written_release["pythons"]}]}
