import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from loopback import FIRST, REPOSITORY, GitHub, locked_flake, serve

ROOT = Path(__file__).resolve().parents[2]
# What ./run has unpacked where there is no Nix.
if not shutil.which("nix"):
    os.environ["PATH"] = os.pathsep.join([str(ROOT / ".nix" / "bin"), os.environ["PATH"]])
FLAGSHIP = "pytorch-sm90-avx512"

# The Python of what the tests build. Evaluated purely, the embedded set is for 3.11. Where that is not, it
# has to look for the machine's, of which ./run check has made .venv.
PURELY = any(Path(directory, "python3.11").exists() for directory in ("/usr/local/bin", "/usr/bin"))
PYTHON = "3.11" if PURELY else f"3.{sys.version_info.minor}"
PYTHON_NAME = f"python{PYTHON.replace('.', '')}"

# On a machine that is busy an example takes as long as it takes.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A test that takes one of these wants Nix, and most of them gigabytes. All others are quick, but for those
# that say `pytest.mark.slow`, for a reason of their own.
SLOW_FIXTURES = {"nix", "embedded", "official_libraries", "environment", "github", "flake"}
# Modules whose tests share what takes long to make, or come one after the other: one process runs all of such
# a module. pytest-xdist's own mark for this has no effect with pytest 9.2, and says nothing.
TOGETHER = {
    "test_jobs.py",
    "test_matrix.py",
    "test_package_set.py",
    "test_pytorch_releases.py",
    "test_readme.py",
    "test_sabotage.py",
    "test_template.py",
}
# After how many seconds in which no test ends those that run are named, again and again.
SILENCE = 25


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if SLOW_FIXTURES.isdisjoint(fixtures) and not item.get_closest_marker("slow"):
            item.add_marker("quick")
    if hasattr(config, "workerinput"):
        # So that all processes have something to do up to the end.
        items.sort(key=lambda item: item.get_closest_marker("quick") is not None)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> object:
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            module = nodeid.split("::", 1)[0]
            return module if Path(module).name in TOGETHER else nodeid

    return Scheduling(config, log)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A directory that the first of all processes to ask for it makes; do not write to it."""
    base = factory.getbasetemp()
    # Each process has a base of its own, below that of them all.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    directory = shared / name
    with (shared / f"{name}.lock").open("a") as made:
        fcntl.flock(made, fcntl.LOCK_EX)
        if not os.fstat(made.fileno()).st_size:
            shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir()
            make(directory)
            made.write("made\n")
    return directory


class Progress:
    """Names the tests that run where none has ended for a while; they may run in other processes."""

    def __init__(self) -> None:
        # What a test writes is captured, and would be what is written here.
        self.out = os.dup(1)
        self.running: dict[str, float] = {}
        self.ended = threading.Event()
        self.over = False
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.running[nodeid] = time.monotonic()

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        self.running.pop(nodeid, None)
        self.ended.set()

    def pytest_unconfigure(self) -> None:
        self.over = True
        self.ended.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.over:
            if self.ended.wait(SILENCE):
                self.ended.clear()
                continue
            now = time.monotonic()
            lines = [f"{nodeid}: for {now - began:.0f} s\n" for nodeid, began in list(self.running.items())]
            if lines:
                os.write(self.out, "".join(["\n", *lines]).encode())


def pytest_configure(config: pytest.Config) -> None:
    # A process that runs tests for another has nothing to write on.
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Progress())


@dataclass(frozen=True)
class Nix:
    """Nix on this flake, over the embedded package set or the nixpkgs that $NIXPKGS names."""

    nixpkgs: str

    @property
    def compiles(self) -> bool:
        """Whether its torch is compiled: the embedded set's is the official wheel."""
        return self.nixpkgs != str(ROOT / "pkgs" / "embedded")

    def environment(self) -> dict[str, str]:
        settings = (
            os.environ.get("NIX_CONFIG", ""),
            "extra-experimental-features = nix-command flakes",
            "sandbox = false",
            "substitute = false",
            "accept-flake-config = true",
            "warn-dirty = false",
            # It remembers that there was an error and not which: https://github.com/NixOS/nix/issues/3872
            "eval-cache = false",
        )
        return {**os.environ, "NIX_CONFIG": "\n".join(settings)}

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        override = ["--override-input", "nixpkgs", f"path:{self.nixpkgs}", "--no-write-lock-file"]
        if not (PURELY or self.compiles):
            override.append("--impure")
        return subprocess.run(
            ["nix", *command.split(), *override, *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment(),
        )

    def ok(self, *arguments: str) -> str:
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def eval(self, installable: str, function: str = "x: x") -> Any:
        return json.loads(self.ok("eval", "--json", installable, "--apply", function))

    def lib(self, expression: str) -> Any:
        """Evaluate an expression in which the flake's lib is in scope as `lib`."""
        return self.eval(".#lib", f"lib: {expression}")

    def error(self, installable: str, function: str = "x: x") -> str:
        """The last line of an error that has to come."""
        result = self.run("eval", "--json", installable, "--apply", function)
        assert result.returncode != 0, result.stdout
        return result.stderr.rsplit("error: ", 1)[1].strip()

    def build(self, installable: str) -> Path:
        return Path(self.ok("build", "--no-link", "--print-out-paths", installable).strip())


@pytest.fixture(scope="session")
def nix() -> Nix:
    return Nix(os.environ.get("NIXPKGS") or str(ROOT / "pkgs" / "embedded"))


@pytest.fixture(scope="session")
def embedded() -> Nix:
    """The embedded package set, the one that builds in minutes."""
    return Nix(str(ROOT / "pkgs" / "embedded"))


@pytest.fixture(scope="session")
def official_libraries(embedded: Nix, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The libraries of the official wheel that have GPU code or speak of it, untouched."""

    def make(directory: Path) -> None:
        with zipfile.ZipFile(embedded.build(f".#{FLAGSHIP}.src")) as archive:
            for name in archive.namelist():
                if re.fullmatch(r"torch/lib/libtorch_(cuda|cuda_linalg|nvshmem|python)\.so", name):
                    archive.extract(name, directory)

    return made_once(tmp_path_factory, "official", make) / "torch" / "lib"


@pytest.fixture(scope="session")
def environment(embedded: Nix) -> Path:
    """The default variant's environment, really built."""
    return embedded.build(f".#{FLAGSHIP}.environment")


@pytest.fixture
def github(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GitHub]:
    """A repository with a package set: the embedded one, with what archives leave out, links and scripts."""
    root = tmp_path / "github"
    shutil.copytree(ROOT / "pkgs" / "embedded", root / REPOSITORY)
    tree = root / REPOSITORY
    (tree / ".gitattributes").write_text("ignored export-ignore\nsubstituted export-subst\n")
    (tree / "ignored").write_text("not in an archive\n")
    (tree / "substituted").write_text("$Format:%H$\n")
    (tree / "link").symlink_to("lib.nix")
    (tree / "script").write_text("#!/bin/sh\n")
    (tree / "script").chmod(0o755)
    with serve(root) as github:
        for name, value in github.environment.items():
            monkeypatch.setenv(name, value)
        # Python looks for a proxy at its first request and never again.
        monkeypatch.setattr(urllib.request, "_opener", None)
        yield github


@pytest.fixture
def flake(github: GitHub, tmp_path: Path) -> Path:
    """A flake that Nix itself has locked to the first commit."""
    github.commit(REPOSITORY, FIRST)
    return locked_flake(tmp_path / "flake", f'inputs.nixpkgs.url = "github:{REPOSITORY}";')
