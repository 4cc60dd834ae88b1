"""./run: bad input is one line with the way out in it; it works in any place, and with a Nix of its own."""

import json
import os
import platform
import re
import select
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FLAGSHIP, ROOT, Nix
from terminal import on_a_terminal

from pytorch_variants.cost.variant import begin
from pytorch_variants.errors import UserError

# Nix is asked by most of them.
pytestmark = pytest.mark.slow

BAD = {
    ("build", "pytorch-sm91-avx512"): "nearest: ",
    ("build", "pytorch-sm90-avx521"): "pytorch-sm90-avx512",
    ("build", "pytorch-sm61-avx2"): "nothing that works here runs on sm61",
    ("build", "pytorch-sm87-avx2"): "exists on aarch64-linux only",
    ("build", "pytorch-cpu-avx2"): "nearest that works here: pytorch-sm",
    ("build", "pytorch-sm90-avx512;true"): "write one like pytorch-sm90-avx512",
    ("build", "pytorch-sm90-avx2", "pytorch-sm80-avx2"): "one variant at a time",
    ("build", "--gpu"): "no such option",
    ("build", "--nixpkgs"): "write locked, embedded, source or the path",
    ("build", "pytorch-sm90-avx2", "--nixpkgs", "/nowhere"): "no nixpkgs there",
    ("build", "pytorch-bin-sm90", "--torch"): "write a version after it",
    ("build", "pytorch-bin-sm90", "--torch", "2.1"): "write one of them",
    ("build", "pytorch-bin-cuda13_0-sm90", "--torch", "2.14"): "leave the other out",
    ("build", "pytorch-bin-cuda13_0-sm70"): "take mkPytorchVariant",
    ("build", "pytorch-bin-sm91"): "nearest: ",
    ("build", "pytorch-bin-sm61"): "take mkPytorchVariant",
    ("build", "RTX 4090"): "pytorch-sm",
    ("build", "torchvision-sm86-avx2"): "write pytorch-sm86-avx2, or ./run nix build .#torchvision-sm86-avx2",
    ("build", "torchaudio-sm91"): "write pytorch-sm91",
    ("nix",): "write its arguments after it",
    ("check", "everything"): "takes no arguments",
    ("lint", "everything"): "takes no arguments",
    ("bild",): "write ./run build",
}


@pytest.mark.parametrize(("arguments", "way_out"), BAD.items(), ids=repr)
def test_bad_input(arguments: tuple[str, ...], way_out: str) -> None:
    if arguments[0] == "build" and "--nixpkgs" not in arguments:
        arguments = (*arguments, "--nixpkgs", "embedded")
    result = subprocess.run(["./run", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    lines = [line for line in result.stderr.splitlines() if not line.startswith("run: package set: ")]
    assert len(lines) == 1
    assert way_out in lines[0]
    assert "while evaluating" not in result.stderr


def run(
    run: Path, *arguments: str, cwd: Path = ROOT, first: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Call ./run, with the programs of the directory `first` before all others."""
    path = os.environ["PATH"] if first is None else f"{first}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [run, *arguments],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )


def program(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone whose path has to be quoted, and to be encoded in a flake reference."""
    clone = tmp_path / "a clone of 100 %" / "pytorch"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT)
    subprocess.run(["xargs", "-0", "cp", "-dp", "--parents", "-t", clone], input=files, cwd=ROOT, check=True)
    subprocess.run(["git", "add", "--all"], cwd=clone, check=True)
    return clone


def python_here(version: str) -> bool:
    """Whether it is where distributions and administrators put it."""
    return any(Path(directory, f"python{version}").exists() for directory in ("/usr/bin", "/usr/local/bin"))


@pytest.mark.parametrize("name", ["pytorch-{}-cuda12_8-sm86-avx2", "pytorch-{}-bin-sm90"])
def test_python_that_is_not_there(name: str, embedded: Nix) -> None:
    """Said by ./run before it installs anything, and by the set itself."""
    missing = next(version for version in ("3.12", "3.13", "3.11") if not python_here(version))
    name = name.format(f"python{missing.replace('.', '')}")
    way_out = f"this machine has no python{missing}: apt-get install python{missing} python3-pip, where "
    result = run(ROOT / "run", "build", name, "--nixpkgs", "embedded")
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert way_out in line
    arguments = ("--impure", "--json", f".#legacyPackages.x86_64-linux.{name}.drvPath")
    result = embedded.run("eval", *arguments)
    assert f"{way_out}this release has it, or write a name without it, for python3." in result.stderr


@pytest.mark.parametrize(
    ("files", "own", "default"),
    [
        # The machine's own, be there a newer one or not; the nearer directory first.
        (["bin/python3.13"], "bin/python3.13", "python3.13"),
        (["bin/python3.11", "bin/python3.14"], "bin/python3.11", "python3.11"),
        (["bin/python3.11", "local/python3.12", "local/python3"], "bin/python3.11", "python3.12"),
        # It is none of those with pins, or there is none: the newest that is.
        (["bin/python3.9", "local/python3.11", "bin/python3.12"], "bin/python3.9", "python3.12"),
        (["local/python3.11", "bin/python3.12"], None, "python3.12"),
        ([], None, "none of python3.11, python3.12, python3.13, python3.14 in "),
    ],
)
def test_the_machines_python_is_the_default(
    files: list[str], own: str | None, default: str, embedded: Nix, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "pkgs" / "embedded", tmp_path / "embedded")
    for directory, place in {"local": "/usr/local/bin/", "bin": "/usr/bin/"}.items():
        (tmp_path / directory).mkdir()
        source = tmp_path / "embedded" / "default.nix"
        source.write_text(source.read_text().replace(f'"{place}${{', f'"{tmp_path}/{directory}/${{'))
    for file in files:
        name = default if file == "local/python3" else Path(file).name
        (tmp_path / file).write_text(f"the program {name}")
    if own:
        (tmp_path / "bin" / "python3").symlink_to(Path(own).name)
    version = ("--raw", f"path:{tmp_path}/embedded#legacyPackages.x86_64-linux.python3.interpreter")
    # Where nothing can be looked at, it is the first that is pinned.
    assert embedded.ok("eval", *version) == "python3.11"
    found = embedded.run("eval", *version, "--impure")
    assert found.stdout == default or default in found.stderr


def test_a_release_without_a_pinned_python(clone: Path, tmp_path: Path) -> None:
    """Nothing is installed for it: what this release offers is asked first."""
    pins = clone / "pkgs" / "embedded" / "wheels.json"
    pins.write_text(re.sub('"3.1([0-9])"', '"3.7\\1"', pins.read_text()))
    program(tmp_path / "bin" / "nix", "echo nix '(Nix)' 2.8.0")
    for asked in ("apt-get", "sudo"):
        program(tmp_path / "bin" / asked, "echo installed >&2")
    candidates = "*3.73) echo '  Candidate: 3.73.1-1' ;; *python3) echo '  Candidate: 3.14.8-1' ;;"
    program(tmp_path / "bin" / "apt-cache", f"case $2 in {candidates} esac")
    for arguments in (("build", FLAGSHIP), ("cli", "detect"), ("nix", "eval", ".#lib")):
        result = run(clone / "run", *arguments, cwd=clone, first=tmp_path / "bin")
        assert result.returncode == 2
        [line] = [line for line in result.stderr.splitlines() if not line.startswith("run: package set: ")]
        assert "needs one of Python 3.71, 3.72, 3.73, 3.74 with pip" in line
        assert "this release's python3 is 3.14.8-1: apt-get install python3.73 python3-pip, then" in line


def with_a_wheel_that_is_not_there(clone: Path, package: str) -> None:
    """Another hash in the pins."""
    pins = clone / "pkgs" / "embedded" / "wheels.json"
    found = json.loads(pins.read_text())
    for release in found["releases"]:
        for wheels in release["pythons"].values():
            wheels[package]["sha256"] = "0" * 64
    pins.write_text(json.dumps(found, indent=2))


# The first is one of the command line's own, the second one of PyTorch's.
@pytest.mark.parametrize("package", ["mdurl", "mpmath"])
def test_without_a_network(
    clone: Path, package: str, environment: Path, embedded: Nix, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of all else nothing is left to fetch.
    embedded.build(".#cli")
    with_a_wheel_that_is_not_there(clone, package)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_RETRIES", "0")
    result = run(clone / "run", "build", FLAGSHIP, "--nixpkgs", "embedded", cwd=clone)
    assert result.returncode == 2
    *progress, line = result.stderr.splitlines()
    assert re.fullmatch(
        rf"(run|pytorch-variants): {package} \S+ could not be fetched: check the network .*", line
    )
    assert all(re.match("run: (package set: |preparing |[0-9]+ of [0-9]+ steps)", line) for line in progress)


def test_ctrl_c_says_what_is_kept(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waits for a registry that does not answer."""
    with_a_wheel_that_is_not_there(clone, "mdurl")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("PIP_DEFAULT_TIMEOUT", "1000")
        building = subprocess.Popen(
            [clone / "run", "build", FLAGSHIP, "--nixpkgs", "embedded"],
            cwd=clone,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        assert building.stderr
        stream = building.stderr.fileno()
        messages = b""
        while silent.fileno() not in select.select([silent.fileno(), stream], [], [])[0]:
            said = os.read(stream, 4096)
            assert said, messages
            messages += said
        os.killpg(building.pid, signal.SIGINT)
        messages += building.communicate()[1]
    assert building.returncode == 130
    assert messages.decode().splitlines()[-1] == (
        "run: stopped; what has been fetched and built whole is kept, so ./run build again goes on from there"
    )


@pytest.fixture
def bootstrap() -> Iterator[Path]:
    """The scripts and no more, where another user can read them; programs without sudo."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    shutil.copytree(ROOT / "bootstrap", directory / "bootstrap")
    (directory / "bin").mkdir()
    for name in ("cat", "date", "env", "id", "mktemp", "rm", "sh", "stat"):
        (directory / "bin" / name).symlink_to(shutil.which(name) or name)
    yield directory
    shutil.rmtree(directory)


def function(directory: Path, script: str, **environment: str) -> str:
    """The line that a function of the scripts ends with, for a user that is not root."""
    user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    result = subprocess.run(
        [shutil.which("sh") or "sh", "-euc", f'root={directory}; . "$root/bootstrap/load.sh"; {script}'],
        env={"PATH": str(directory / "bin"), **environment},
        capture_output=True,
        text=True,
        check=False,
        **user,  # type: ignore[call-overload]
    )
    assert (result.returncode, result.stdout) == (2, "")
    line: str = result.stderr.splitlines()[-1]
    return line


def test_another_users_store(bootstrap: Path) -> None:
    state = bootstrap / "state"
    absent = function(bootstrap, "ensure_nix", NIX_STATE_DIR=str(state))
    assert re.search(
        "root alone can make.*let root run 'install -d -m 0755 -o [0-9]+ -g [0-9]+ /nix'", absent
    )
    state.mkdir(mode=0o555)
    owner = Path(state).owner()
    without = function(bootstrap, "ensure_nix", NIX_STATE_DIR=str(state))
    assert without == (
        f"run: the Nix store is {owner}'s, no Nix daemon runs, and there is no sudo: "
        f"let root start the daemon (systemctl start nix-daemon), or run this as {owner}"
    )
    program(bootstrap / "bin" / "sudo", "exit 1")
    assert "start it (sudo systemctl start nix-daemon), or run this as" in function(
        bootstrap, "ensure_nix", NIX_STATE_DIR=str(state)
    )


@pytest.mark.parametrize(
    ("says", "way_out"),
    [
        (
            "E: Release file for http://mirror/dists/trixie/InRelease is expired (invalid since 3d 1h 2min). "
            "Updates for this repository will not be applied.",
            "write another mirror into /etc/apt/sources.list",
        ),
        (
            "E: Release file for http://mirror/dists/trixie/InRelease is not valid yet (invalid for another "
            "2h). Updates for this repository will not be applied.",
            "set the clock",
        ),
        (
            "E: The repository 'http://mirror trixie Release' does not have a Release file.",
            "check the network",
        ),
    ],
)
def test_what_apt_says(says: str, way_out: str, bootstrap: Path) -> None:
    program(
        bootstrap / "bin" / "sudo",
        f"""[ "$*" = "env LC_ALL=C apt-get update -qq -o APT::Status-Fd=1" ]
echo "{says}" >&2
exit 100""",
    )
    line = function(bootstrap, "apt_update")
    assert line.startswith("run: apt-get update failed: ")
    assert way_out in line


@pytest.mark.parametrize(("code", "said"), [(0, "succeeded"), (100, "failed")])
def test_how_far_apt_get_is(code: int, said: str) -> None:
    """One line of a terminal, written anew, that is gone afterwards."""
    apt_get = rf"""printf '%s\n' 'Reading lists' 'dlstatus:1:12.5:Retrieving file 1 of 5 (3s remaining)' \
'pmstatus:nix-bin:60.0:Unpacking nix-bin (amd64)'; echo 'W: a warning' >&2; exit {code}"""
    script = f"with_progress sh -c {shlex.quote(apt_get)} && say succeeded || say failed"
    shown = on_a_terminal("sh", "-euc", f'root={ROOT}; . "$root/bootstrap/load.sh"; {script}')
    assert shown == (
        "\r\x1b[Krun: apt-get: 12 %, Retrieving file 1 of 5 (3s remaining)"
        "\r\x1b[Krun: apt-get: 60 %, Unpacking nix-bin (amd64)"
        f"\r\x1b[KW: a warning\nrun: {said}\n"
    )


def test_a_disk_that_is_too_small(clone: Path, embedded: Nix, monkeypatch: pytest.MonkeyPatch) -> None:
    with_a_wheel_that_is_not_there(clone, "mpmath")
    monkeypatch.setenv("NIX_CONFIG", embedded.environment()["NIX_CONFIG"])
    with pytest.raises(UserError, match=r"has 1\.0 GB free and [0-9.]+ GB are needed: make room"):
        begin(FLAGSHIP, "embedded", clone, free=10**9)


def test_nothing_to_fetch(environment: Path, embedded: Nix, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIX_CONFIG", embedded.environment()["NIX_CONFIG"])
    assert begin(FLAGSHIP, "embedded", ROOT, free=0) == 0


def test_clone_behind_a_link_called_from_elsewhere(clone: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(clone)
    result = run(link / "run", "build", FLAGSHIP, "--nixpkgs", "embedded", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "warning: " not in result.stderr
    [hint] = re.findall(r"^run: try it: (.+)$", result.stderr, re.MULTILINE)
    version = subprocess.check_output(["bash", "-c", hint], cwd=tmp_path, text=True)
    assert version.startswith("2.")


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("eval", "--raw", f".#{FLAGSHIP}.pname"), "pytorch-"),
        (("eval", "--raw", ".#lib", "--apply", 'lib: (lib.parseGpu "H100").name'), "sm90"),
        (("derivation", "show", ".#cli"), "{"),
        (("flake", "metadata", "--json"), "{"),
        (("hash", "file", "run"), "sha256-"),
    ],
    ids=" ".join,
)
def test_nix(arguments: tuple[str, ...], answer: str) -> None:
    result = run(ROOT / "run", "nix", *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(answer)
    assert [line for line in result.stderr.splitlines() if not line.startswith("run: package set: ")] == []


def test_cli_asks_of_the_package_set_that_was_chosen() -> None:
    result = run(ROOT / "run", "cli", "detect", "--gpu", "RTX 4090")
    assert result.returncode == 0, result.stderr
    embedded = "package set: pkgs/embedded" in result.stderr
    command = result.stdout.splitlines()[-1]
    assert command.startswith(f"./run build pytorch-{'bin-' * embedded}sm89")


def test_several_gpus_from_what_is_detected_to_what_is_built(tmp_path: Path) -> None:
    """The line that is printed, where it is printed, and the environment for both."""
    options = ("--nixpkgs", "embedded", "--gpu", "H100, A100", "--cpuinfo", "/proc/cpuinfo")
    detected = run(ROOT / "run", "cli", "detect", *options, cwd=tmp_path)
    assert detected.returncode == 0, detected.stderr
    command = detected.stdout.splitlines()[-1]
    assert re.fullmatch(r"\S+/run build pytorch-sm80-sm90-\S+", command)
    built = subprocess.run(
        ["bash", "-c", f"{command} --nixpkgs embedded"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    [flags] = [line for line in built.stdout.splitlines() if "architecture flags" in line]
    assert flags.count("sm_80 sm_90") == 2


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("pytorch-sm80-sm61-avx2", "nearest that works here: pytorch-sm80-avx2, for one of them"),
        ("pytorch-sm80-sm89-avx2", "pytorch-sm80-avx2, whose code runs on sm80 and sm89"),
        ("pytorch-sm80-sm90", "write pytorch-sm80-sm90-avx2 to compile it, or pytorch-bin-sm80-sm90"),
        ("pytorch-bin-sm50-sm90", "no code that sm50 runs"),
        ("pytorch-bin-cuda11_0-sm80-sm90", "no CUDA 11.0: write one of 12.8, 13.0"),
        ("pytorch-bin-sm90-avx512", "write pytorch-bin-sm90"),
        ("pytorch-bin-cpu", "write pytorch-bin-sm80, or pytorch-cpu-avx2"),
    ],
)
def test_gpus_that_do_not_go_together(name: str, way_out: str) -> None:
    result = run(ROOT / "run", "build", name, "--nixpkgs", "embedded")
    assert result.returncode == 2
    [line] = [line for line in result.stderr.splitlines() if not line.startswith("run: package set: ")]
    assert way_out in line


def test_nix_passes_on_what_nix_says() -> None:
    result = run(ROOT / "run", "nix", "eval", ".#nothing")
    assert result.returncode == 1
    assert "does not provide attribute" in result.stderr


@pytest.mark.skipif(
    platform.freedesktop_os_release().get("VERSION_CODENAME") != "bookworm",
    reason="other releases have a Nix that is new enough, or none at all",
)
def test_nix_of_its_own(clone: Path, tmp_path: Path) -> None:
    program(tmp_path / "bin" / "nix", "echo nix '(Nix)' 2.8.0")
    installed = subprocess.check_output(["dpkg-query", "--show"])

    def nix(*arguments: str) -> subprocess.CompletedProcess[str]:
        result = run(clone / "run", "nix", *arguments, cwd=clone, first=tmp_path / "bin")
        assert result.returncode == 0, result.stderr
        return result

    assert "unpacking Debian 13's Nix" in nix("eval", "--raw", ".#lib", "--apply", "lib: toString 1").stderr
    assert sorted(path.name for path in clone.glob(".nix*")) == [".nix"]
    assert not subprocess.check_output(["git", "status", "--short", "--", ".nix"], cwd=clone)
    assert subprocess.check_output(["dpkg-query", "--show"]) == installed

    # It is there for the next call, and calls itself, git and what it builds with.
    stated = nix("eval", "--raw", f".#{FLAGSHIP}.pname")
    assert "unpacking" not in stated.stderr
    assert stated.stdout.startswith("pytorch-")
    settings = nix("config", "show", "build-hook").stdout
    assert settings.strip() == f"{clone}/.nix/bin/nix __build-remote"
    derivation = """derivation {
      name = "probe";
      system = builtins.currentSystem;
      builder = "/bin/sh";
      args = [ "-c" "echo libraries: $LD_LIBRARY_PATH > $out" ];
    }"""
    built = nix("build", "--impure", "--no-link", "--print-out-paths", "--expr", derivation).stdout.strip()
    assert Path(built).read_text() == "libraries:\n"
    store = f"file://{tmp_path}/store?compression=none"
    nix("copy", "--to", store, built)
    assert nix("path-info", "--store", store, built).stdout.strip() == built
    for name in ("nix-store", "nix-instantiate", "nix-prefetch-url"):
        version = subprocess.check_output([clone / ".nix" / "bin" / name, "--version"], text=True)
        assert version.startswith(f"{name} (Nix) ")
