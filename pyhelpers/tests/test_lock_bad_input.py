"""The lock and plan commands with bad input: one line, what to write instead, exit code 2, nothing lost."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import call
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

FLAKE = '{ inputs.nixpkgs.url = "github:acme/packages"; outputs = _: { }; }'
NODE: dict[str, Any] = {
    "locked": {
        "lastModified": 1700000000,
        "narHash": "sha256-tiQ8/qi8I45OOaBBYlVbXoAVkeQzvvTQOv5I45rMw5o=",
        "owner": "acme",
        "repo": "packages",
        "rev": "ec1a11210589d294f0ac99d3290a27e6c73dfa1d",
        "type": "github",
    },
    "original": {"owner": "acme", "repo": "packages", "type": "github"},
}
LOCK: dict[str, Any] = {
    "nodes": {"nixpkgs": NODE, "root": {"inputs": {"nixpkgs": "nixpkgs"}}},
    "root": "root",
    "version": 7,
}
WHEELS = (ROOT / "pkgs" / "embedded" / "wheels.json").read_text()


def with_node(**node: Any) -> dict[str, Any]:
    return {**LOCK, "nodes": {**LOCK["nodes"], "nixpkgs": {**NODE, **node}}}


def with_root(**inputs: Any) -> dict[str, Any]:
    return {**LOCK, "nodes": {**LOCK["nodes"], "root": {"inputs": inputs}}}


def text(data: Any) -> bytes:
    return json.dumps(data).encode()


BROKEN_LOCKS = {
    "empty": b"",
    "cut short": text(LOCK)[:-40],
    "not JSON": b"{ nodes = { }; }",
    "not UTF-8": text(LOCK).replace(b"acme", b"acm\xe9"),
    "UTF-16": text(LOCK).decode().encode("utf-16"),
    "bytes": bytes(range(256)),
    "half a character": text(LOCK).replace(b"acme", rb"\ud800"),
    "deep": b"[" * 100_000,
    "a number of many digits": b'{"version": ' + b"9" * 5000 + b"}",
    "null": b"null",
    "a list": b"[]",
    "a text": b'"flake.lock"',
    "nothing in it": b"{}",
    "version 4": text({**LOCK, "version": 4}),
    "version 99": text({**LOCK, "version": 99}),
    "version as text": text({**LOCK, "version": "7"}),
    "version as list": text({**LOCK, "version": [7]}),
    "no nodes": text({"root": "root", "version": 7}),
    "nodes as list": text({**LOCK, "nodes": [NODE]}),
    "no root": text({"nodes": LOCK["nodes"], "version": 7}),
    "root elsewhere": text({**LOCK, "root": "elsewhere"}),
    "root as list": text({**LOCK, "root": ["root"]}),
    "node as text": text({**LOCK, "nodes": {**LOCK["nodes"], "nixpkgs": "locked"}}),
    "inputs as list": text({**LOCK, "nodes": {**LOCK["nodes"], "root": {"inputs": ["nixpkgs"]}}}),
    "input that leads nowhere": text(with_root(nixpkgs="nixpkgs_2")),
    "input as number": text(with_root(nixpkgs=2)),
    "follows numbers": text(with_root(nixpkgs=[1, 2])),
    "not locked": text({**LOCK, "nodes": {**LOCK["nodes"], "nixpkgs": {"original": NODE["original"]}}}),
    "locked as text": text(with_node(locked="yes")),
    "no original": text({**LOCK, "nodes": {**LOCK["nodes"], "nixpkgs": {"locked": NODE["locked"]}}}),
}

BROKEN_WHEELS = {
    "empty": "",
    "a list": "[]",
    "no pythons": '{"pythons": {}}',
    "a text": '"wheels"',
    "cut short": WHEELS[: len(WHEELS) // 2],
    "no torch": WHEELS.replace('"torch": {', '"flame": {'),
    "size as text": WHEELS.replace('"size": ', '"size": "0", "was": '),
    "no file": WHEELS.replace('"file": ', '"datei": '),
    "requires a number": WHEELS.replace('"requires": []', '"requires": [1]'),
    "a requirement that is none": WHEELS.replace('"torch>=2.10', '"torch>2.10='),
    "no platforms": WHEELS.replace('"platforms": [', '"platforms": [], "were": ['),
    "a platform as number": WHEELS.replace('"platforms": [', '"platforms": [228,'),
    "another system": WHEELS.replace('"system": "aarch64-linux"', '"system": "aarch64-darwin"'),
    "a Python as number": WHEELS.replace('"3.12",', "3.12,"),
    "another Python": WHEELS.replace('"python312": {', '"ruby": {'),
}

BAD_REQUIREMENTS = (
    "",
    " ",
    "torch",
    "torch>=",
    "torch=2",
    "torch=>2",
    "torch>two",
    "torch>=2.9,,<3;",
    "pytorch>=2",
    "numpy>=2",
    "Torch>=2",
    ">=2.9",
    "2.9",
    "torch>=2.9 and <3",
    "torch[cuda]>=2.9",
    "torch>=2.9; python_version<'3'",
    "torch @ https://example.org/torch.whl",
    "cuda>=12.8\ncuda<13",
    "cuda>=12_8.x",
    "python~=3",
    "torch>=" + "9" * 20 + "x" * 500,
    "törch>=2",
    "--require",
    "torch>=\x00",
)


@pytest.fixture
def flake(tmp_path: Path) -> Path:
    (tmp_path / "flake.nix").write_text(FLAKE)
    (tmp_path / "flake.lock").write_bytes(text(LOCK))
    return tmp_path


def refused(*arguments: str) -> str:
    """The one line that a wrong call has to give."""
    code, out, err = call(*arguments)
    assert code == 2, err
    assert out == ""
    assert err.startswith("pytorch-variants")
    assert len(err.splitlines()) == 1, err
    return err


@pytest.mark.parametrize("command", ["lock show", "lock update", "lock check", "plan"])
def test_help_has_an_example(command: str) -> None:
    code, out, _ = call(*command.split(), "--help")
    assert code == 0
    words = " ".join(out.split())
    assert f"Example: pytorch-variants {command}" in words
    assert "--json" in words
    assert ("Needs the network" in words) is (command == "lock update")


@pytest.mark.parametrize("command", ["show", "check", "update"])
@pytest.mark.parametrize("content", BROKEN_LOCKS.values(), ids=BROKEN_LOCKS)
def test_broken_lock_files(flake: Path, command: str, content: bytes) -> None:
    (flake / "flake.lock").write_bytes(content)
    line = refused("lock", command, "--flake", str(flake))
    assert "flake.lock: " in line
    assert "git checkout" in line
    assert (flake / "flake.lock").read_bytes() == content


@pytest.mark.parametrize("command", ["show", "check", "update"])
@pytest.mark.parametrize("content", BROKEN_WHEELS.values(), ids=BROKEN_WHEELS)
def test_broken_pins_of_wheels(flake: Path, command: str, content: str) -> None:
    file = flake / "pkgs" / "embedded" / "wheels.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    what = ("embedded",) if command == "update" else ()
    assert "wheels.json: " in refused("lock", command, *what, "--flake", str(flake))
    assert file.read_text() == content


@pytest.mark.parametrize("command", ["check", "update"])
@pytest.mark.parametrize("requirement", BAD_REQUIREMENTS, ids=lambda value: ascii(value[:20]))
def test_bad_requirements(flake: Path, command: str, requirement: str) -> None:
    line = refused("lock", command, "--flake", str(flake), "--require", requirement)
    assert "'torch>=2.9,<3'" in line


@pytest.mark.parametrize("command", ["show", "check", "update"])
def test_files_that_are_none(flake: Path, command: str) -> None:
    show = ("lock", command, "--flake")
    assert "no flake.nix there" in refused(*show, str(flake / "nowhere"))
    assert "no flake.nix there" in refused(*show, str(flake / "flake.nix"))
    assert "no flake.nix there" in refused(*show, os.fsdecode(b"/caf\xe9"))
    (flake / "flake.lock").unlink()
    assert "nix flake lock" in refused(*show, str(flake))
    (flake / "flake.lock").mkdir()
    assert "flake.lock: Is a directory" in refused(*show, str(flake))


@contextlib.contextmanager
def nobody() -> Iterator[None]:
    """Without root's way past permissions."""
    user = os.geteuid()
    os.seteuid(65534 if user == 0 else user)
    try:
        yield
    finally:
        os.seteuid(user)


def test_no_permission() -> None:
    with tempfile.TemporaryDirectory() as name:
        flake = Path(name)
        flake.chmod(0o755)
        (flake / "flake.nix").write_text(FLAKE)
        (flake / "flake.lock").write_bytes(text(LOCK))
        (flake / "flake.lock").chmod(0)
        for command in ("show", "check", "update"):
            # It imports what another user may not be able to read.
            refused("lock", command, "--flake", name + "/nowhere")
            with nobody():
                line = refused("lock", command, "--flake", name)
            assert "flake.lock: Permission denied" in line
        (flake / "flake.lock").chmod(0o644)
        flake.chmod(0)
        for command in ("show", "check", "update"):
            with nobody():
                line = refused("lock", command, "--flake", name)
            # Which of the two depends on whether it is the user or its rights that were changed.
            assert "Permission denied" in line or "is not readable" in line
        flake.chmod(0o755)


@pytest.mark.parametrize("command", [("lock", "check"), ("plan", "pytorch-sm90-avx512")], ids=" ".join)
def test_no_nix_on_path(flake: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    monkeypatch.setenv("PATH", str(flake))
    line = refused(*command, "--flake", str(flake))
    assert "no nix on PATH: install Nix 2.18 or later" in line


def test_show_without_nix_knows_no_versions(flake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(flake))
    code, out, _ = call("lock", "show", "--flake", flake, "--json")
    assert code == 0
    [pin] = json.loads(out)["inputs"]
    assert pin["versions"] is None
    assert "no nix-store on PATH" in pin["note"]


def test_update_without_git(flake: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(flake))
    assert "no git on PATH" in refused("lock", "update", "--flake", str(flake))
    (flake / "git").write_text("#!/bin/sh\n")
    assert "git on PATH cannot be run" in refused("lock", "update", "--flake", str(flake))


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy that is not there, and no patience with it."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NIX_CONFIG", os.environ.get("NIX_CONFIG", "") + "\ndownload-attempts = 1")


def test_update_without_a_network(flake: Path, no_network: None) -> None:
    line = refused("lock", "update", "--flake", str(flake))
    assert "https://github.com/acme/packages.git cannot be read" in line
    line = refused("lock", "update", "--flake", str(flake), "--to", "0" * 40)
    assert "cannot be fetched" in line
    assert (flake / "flake.lock").read_bytes() == text(LOCK)


UPDATES: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "unknown": (LOCK, ("nixpks",), "nearest: nixpkgs"),
    "empty name": (LOCK, ("",), "no input"),
    "absurd name": (LOCK, ("../../etc/passwd",), "no input"),
    "embedded to": (LOCK, ("embedded", "--to", "main"), "--to is for inputs"),
    "no embedded set": (LOCK, ("embedded",), "wheels.json"),
    "two inputs": (with_root(nixpkgs="nixpkgs", more="nixpkgs"), (), "write one of nixpkgs, more"),
    "no inputs": (with_root(), (), "no inputs"),
    "follows": (with_root(nixpkgs=["other", "nixpkgs"]), ("nixpkgs",), "other/nixpkgs"),
    "not GitHub": (with_node(locked={"type": "git", "url": "x"}), (), "nix flake update nixpkgs"),
    "a path": (with_node(locked={"type": "path", "path": "x"}), (), "nix flake update nixpkgs"),
    "by the registry": (
        with_node(original={"type": "indirect", "id": "nixpkgs"}),
        (),
        "nix flake update nixpkgs",
    ),
    "type as list": (with_node(locked={"type": ["github"]}), (), "nix flake update nixpkgs"),
    "no type": (with_node(locked={}), (), "nix flake update nixpkgs"),
    "another host": (
        with_node(locked={**NODE["locked"], "host": "git.example.org"}),
        (),
        "nix flake update nixpkgs",
    ),
    "own inputs": (with_node(inputs={"deep": "root"}), (), "nix flake update nixpkgs"),
    "a fixed revision": (with_node(original={**NODE["original"], "rev": "0" * 40}), (), "change it there"),
    "no owner": (with_node(locked={"type": "github", "repo": "x"}), (), "no repository"),
    "a bad owner": (with_node(locked={**NODE["locked"], "owner": "a/../b"}), (), "no repository"),
    "owner as number": (with_node(locked={**NODE["locked"], "owner": {}}), (), "no repository"),
}


@pytest.mark.parametrize(("lock", "arguments", "way_out"), UPDATES.values(), ids=UPDATES)
def test_updates_that_cannot_be(flake: Path, lock: Any, arguments: tuple[str, ...], way_out: str) -> None:
    (flake / "flake.lock").write_bytes(text(lock))
    assert way_out in refused("lock", "update", *arguments, "--flake", str(flake))
    assert (flake / "flake.lock").read_bytes() == text(lock)


BROKEN_FLAKES = {
    "empty": "",
    "cut short": FLAKE[:-9],
    "not Nix": "inputs: nixpkgs",
    "a list": "[ ]",
    "no outputs": "{ inputs = { }; }",
    "a bad URL": FLAKE.replace("github:acme/packages", "github:acme"),
    "a URL of another kind": FLAKE.replace("github:acme/packages", "gopher://x"),
    "it throws": 'throw "no"',
}


@pytest.mark.parametrize("content", BROKEN_FLAKES.values(), ids=BROKEN_FLAKES)
def test_broken_flakes(flake: Path, content: str) -> None:
    (flake / "flake.nix").write_text(content)
    refused("lock", "check", "--flake", str(flake))


PLANS = {
    ("pytorch-sm91-avx512",): "nearest: ",
    ("pytorch-sm90-avx521",): "pytorch-sm90-avx512",
    ("pytorch-sm87-avx2",): "exists on aarch64-linux only",
    ("torchvision-sm90-avx512",): "pytorch-sm90-avx512",
    ("torchaudio-sm90-avx512",): "pytorch-sm90-avx512",
    ("",): "not a variant's name",
    ("h100",): "not a variant's name",
    ("pytorch-sm90-avx512;true",): "nearest",
    ("pytorch-sm90-avx512\n",): "nearest",
    ("pytorch-sm90-avx512", "--nixpkgs", "/nowhere"): "write locked, embedded, source or the path",
    ("pytorch-sm90-avx512", "--nixpkgs", ""): "write locked, embedded, source or the path",
    ("pytorch-sm90-avx512", "--nixpkgs", str(ROOT)): "write locked, embedded, source or the path",
    ("pytorch-sm90-avx512", "--nixpkgs", "/etc/passwd"): "write locked, embedded, source or the path",
    (
        "pytorch-sm90-avx512",
        "--nixpkgs",
        os.fsdecode(b"/caf\xe9"),
    ): "write locked, embedded, source or the path",
    ("pytorch-sm90-avx512", "--flake", "/nowhere"): "no flake.nix there",
    ("pytorch-sm90-avx512", "--flake", os.fsdecode(b"/caf\xe9")): "no flake.nix there",
    ("pytorch-sm90-avx512", "--gpus"): "no such option",
    (): "no variant: write its name",
    ("pytorch-sm90-avx512", "pytorch-sm80-avx2"): "unexpected extra argument",
}


# Nix says these.
REFUSED = {
    ("pytorch-sm61-avx2",): "nothing that works here runs on sm61",
    ("pytorch-cpu-avx2",): "nearest that works here: pytorch-sm",
    ("pytorch-sm90-armv9",): "instruction set of aarch64-linux",
    ("pytorch-sm80-sm61-avx2",): "nearest that works here: pytorch-sm80-avx2",
    ("pytorch-cuda11_0-sm90-avx2",): "write one of 12.8, 13.0",
    ("pytorch-python39-sm90-avx2",): "this nixpkgs has no torch for Python 3.9",
}


@pytest.mark.usefixtures("nix")
@pytest.mark.parametrize(("arguments", "way_out"), REFUSED.items(), ids=ascii)
def test_plans_that_nix_refuses(arguments: tuple[str, ...], way_out: str) -> None:
    assert way_out in refused("plan", *arguments, "--nixpkgs", "embedded", "--flake", str(ROOT))


@pytest.mark.parametrize(("arguments", "way_out"), PLANS.items(), ids=lambda value: ascii(value)[:60])
def test_plans_that_cannot_be(arguments: tuple[str, ...], way_out: str) -> None:
    more: tuple[str, ...] = () if "--nixpkgs" in arguments else ("--nixpkgs", "embedded")
    more += () if "--flake" in arguments else ("--flake", str(ROOT))
    assert way_out in refused("plan", *arguments, *more)


def test_a_plan_without_a_network(flake: Path, no_network: None) -> None:
    """Of a flake whose nixpkgs no store has."""
    (flake / "flake.nix").write_text(FLAKE.replace("_: { }", "{ nixpkgs, ... }: nixpkgs"))
    line = refused("plan", "pytorch-sm90-avx512", "--flake", str(flake))
    assert "write --nixpkgs embedded or the path of a nixpkgs" in line


def test_a_nixpkgs_that_is_none(flake: Path) -> None:
    (flake / "default.nix").write_text("{ config, overlays }: throw ''broken\nset''")
    options = ("--flake", str(flake), "--nixpkgs", str(flake))
    assert "broken" in refused("lock", "show", *options)
    assert "broken" in refused("lock", "check", *options, "--require", "torch>=2")
    shutil.copy(flake / "flake.nix", flake / "default.nix")
    assert call("lock", "check", *options, "--require", "torch>=2").code == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def places(data: Any) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside a document."""
    for key in data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield (key,)
        yield from ((key, *rest) for rest in places(data[key]))


def survives(content: bytes) -> None:
    """Whatever the file holds, `lock show` and `lock check` end in order and leave it as it is."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "flake.nix").write_text(FLAKE)
        (Path(name) / "flake.lock").write_bytes(content)
        assert call("lock", "show", "--flake", name, "--json").code in (0, 2)
        assert call("lock", "check", "--flake", name).code in (0, 1, 2)
        assert (Path(name) / "flake.lock").read_bytes() == content


few = settings(max_examples=40)


@few
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    survives(content)


@few
@given(st.sampled_from(list(places(LOCK))), JSON)
def test_any_value_in_any_place(place: tuple[Any, ...], value: Any) -> None:
    data = json.loads(text(LOCK))
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    survives(text(data))


@settings(max_examples=200)
@given(
    requirement=st.text(max_size=30)
    | st.from_regex(r"(torch|cuda)[<>=!~]{1,3}[0-9a-z.*+]{1,9}", fullmatch=True)
)
def test_any_requirement(requirement: str) -> None:
    """It is a requirement or is refused in one line; the embedded set is looked at in no case."""
    refused("lock", "check", "--flake", "/nowhere", "--require", requirement)
