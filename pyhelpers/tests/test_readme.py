"""Every command of the README runs as it stands, one after the other, in a copy and over the embedded set."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import FLAGSHIP, PYTHON_NAME, ROOT, Nix
from readme import CHECK, COMMANDS, FOUND, README, UNDOING, WITHOUT

# The package set is the embedded one: the README's own is not on every machine.
SHIM = """#!/bin/sh
command=$1
shift
case $command in
  build | run | develop | eval | derivation) ;;
  *) exec {nix} "$command" "$@" ;;
esac
exec {nix} "$command" --override-input nixpkgs path:{clone}/pkgs/embedded --no-write-lock-file "$@"
"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory, embedded: Nix) -> Iterator[Path]:
    """A repository of the same files, beside the wheel that one command names."""
    directory = tmp_path_factory.mktemp("readme") / "clone"
    directory.mkdir()
    files = subprocess.check_output(["git", "ls-files", "-z"], cwd=ROOT)
    subprocess.run(
        ["xargs", "-0", "cp", "-dp", "--parents", "-t", directory], input=files, cwd=ROOT, check=True
    )
    subprocess.run(["git", "init", "--quiet"], cwd=directory, check=True)
    subprocess.run(["git", "add", "--all"], cwd=directory, check=True)
    [wheel] = {word for command in COMMANDS for word in command.split() if word.endswith(".whl")}
    (directory / wheel).symlink_to(embedded.build(f".#{FLAGSHIP}.src"))
    programs = directory.parent / "bin"
    programs.mkdir()
    nix = shutil.which("nix")
    assert nix
    (programs / "nix").write_text(SHIM.format(nix=nix, clone=directory))
    (programs / "nix").chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


def run(command: str, clone: Path, embedded: Nix) -> subprocess.CompletedProcess[str]:
    environment = embedded.environment()
    if command.startswith("./run build"):
        command += " --nixpkgs embedded"
    elif not command.startswith("./run"):
        programs = (str(clone.parent / "bin"), str(Path(sys.executable).parent), environment["PATH"])
        environment["PATH"] = os.pathsep.join(programs)
    # The repository that the name stands for.
    command = re.sub(r"github:pytorch-variants/\S+", f"git+file://{clone}", command)
    directory = clone
    if "flake init" in command:
        directory = clone.parent / "project"
        directory.mkdir()
    return subprocess.run(
        ["bash", "-c", command],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_its_call_of_the_library_gives_what_it_asks_for(embedded: Nix) -> None:
    [call] = re.findall(
        r"^    (pytorch-variants\.lib\.mkPytorchVariant \{\n(?:    .*\n)+)", README, re.MULTILINE
    )
    name = json.loads(
        embedded.ok(
            *("eval", "--json", "--impure", "--expr"),
            f"""let
              nixpkgs = {embedded.nixpkgs};
              pytorch-variants = {{
                lib = import {ROOT}/lib {{ lib = import {embedded.nixpkgs}/lib.nix; }};
                overlays.default = import {ROOT}/pkgs/overlay.nix;
              }};
              system = "x86_64-linux";
            in ({call}).pname""",
        )
    )
    # The embedded set compiles nothing: what it gives is the official wheel, by its name.
    assert name == f"pytorch-bin-{PYTHON_NAME}-cuda12_8-sm80-sm86-sm90"


def test_it_has_the_commands() -> None:
    assert CHECK in COMMANDS
    assert len(COMMANDS) > 15
    assert all(any(command.startswith(start) for command in COMMANDS) for start in WITHOUT)


# They build upon each other: none is to be picked by its words.
@pytest.mark.parametrize("command", [c for c in COMMANDS if c != CHECK], ids=lambda c: str(COMMANDS.index(c)))
def test_command(command: str, clone: Path, embedded: Nix) -> None:
    result = run(command, clone, embedded)
    lacking = next((said for start, said in WITHOUT.items() if command.startswith(start)), None)
    if lacking is not None and result.returncode == 2:
        said = [line for line in result.stderr.splitlines() if line.startswith("pytorch-variants:")]
        assert len(said) == 1, result.stderr
        assert lacking in said[0]
    elif command in FOUND and result.returncode == 1:
        assert FOUND[command] in " ".join(result.stdout.split())
    else:
        assert result.returncode == 0, result.stdout + result.stderr


def test_undoing_it_leaves_nothing(tmp_path: Path) -> None:
    """The lines themselves, with directories of their own in the place of /nix and of the home directory."""
    lines = UNDOING.replace("/nix\n", "/store\n")
    clone, home, store, programs = (tmp_path / name for name in ("clone", "home", "store", "bin"))
    made = [clone / ".nix", clone / ".venv", clone / "venv", home / ".cache" / "nix", store / "store"]
    for directory in (*made, programs, home / "Documents"):
        directory.mkdir(parents=True)
    for link in ("result", "result-report"):
        (clone / link).symlink_to(store / "store")
    for kept in (clone / "run", clone / "results.txt"):
        kept.touch()
    for name, script in {"sudo": 'exec "$@"', "pipx": f"echo $* >{tmp_path}/pipx"}.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n")
        (programs / name).chmod(0o755)
    environment = {"HOME": str(home), "PATH": f"{programs}:{os.environ['PATH']}"}
    script = lines.replace(" /store", f" {store}")
    subprocess.run(["sh", "-ec", script], cwd=clone, env=environment, check=True)
    assert (tmp_path / "pipx").read_text() == "uninstall pytorch-variants\n"
    assert sorted(path.name for path in clone.iterdir()) == ["results.txt", "run"]
    assert sorted(path.name for path in home.iterdir()) == [".cache", "Documents"]
    assert not list((home / ".cache").iterdir())
    assert not store.exists()
