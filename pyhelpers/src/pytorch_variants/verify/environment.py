"""An installed PyTorch and what lies around it: which files there are, and questions to its own Python."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, Literal

from pytorch_variants.errors import UserError

# Appended, so that the environment's own modules come first; taken away again before any of them is imported.
_LAUNCH = (
    "import sys; sys.path.append(sys.argv.pop(1)); from pytorch_variants.verify.inside import {0}; "
    "sys.path.pop(); {0}.main()"
)
# The caller's libraries and packages would be found before the environment's own.
_NOT_INHERITED = frozenset({"LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME"})


@dataclass(frozen=True)
class Environment:
    """A directory with bin/python; `torches` are the torch packages of its Pythons, one if all is well."""

    root: Path
    torches: tuple[Path, ...]

    @property
    def python(self) -> Path:
        """The interpreter."""
        return self.root / "bin" / "python"

    @property
    def torch(self) -> Path:
        """…/site-packages/torch."""
        return self.torches[0]

    @property
    def packages(self) -> Path:
        """…/site-packages."""
        return self.torch.parent


def find_environment(root: Path) -> Environment:
    """Find torch in an environment: a link like result, or a venv. Raises UserError where there is none."""
    torches = tuple(sorted(root.glob("lib/python3*/site-packages/torch")))
    if not torches:
        raise UserError(
            f"{root}: no torch package below lib/python3*/site-packages; name the environment, as in result"
        )
    return Environment(root, torches)


@dataclass(frozen=True)
class Tree:
    """What lies below a directory: ELF files by their content, and what could not be looked at."""

    elf: tuple[Path, ...]
    problems: tuple[tuple[Path, str], ...]


def _named_as_a_library(name: str) -> bool:
    return name.endswith(".so") or ".so." in name


def _problem(path: Path) -> str | None:
    """None for an ELF file, "" for another, else what is wrong with it."""
    try:
        if not S_ISREG(path.stat().st_mode):
            return "neither a file nor a directory"
        with path.open("rb") as file:
            if file.read(4) == b"\x7fELF":
                return None
    except OSError as error:
        return error.strerror or str(error)
    return "not an ELF file" if _named_as_a_library(path.name) else ""


def all_files(directory: Path) -> tuple[tuple[Path, ...], tuple[tuple[Path, str], ...]]:
    """All that is no directory below a directory, and what could not be looked at, each in a fixed order.

    Each real directory is entered once. Links are followed, unless they lead to what holds the directory.
    """
    files: list[Path] = []
    problems: list[tuple[Path, str]] = []
    seen: set[tuple[int, int]] = set()
    with suppress(OSError):
        seen = {(status.st_dev, status.st_ino) for status in map(os.stat, directory.resolve().parents)}

    def enter(place: Path) -> Iterator[Path]:
        try:
            status = place.stat()
            if (status.st_dev, status.st_ino) in seen:
                return
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            problems.append((place, error.strerror or str(error)))
            return
        for entry in found:
            path = place / entry.name
            try:
                # nixpkgs links torch/lib to another output, hence links too.
                is_directory = S_ISDIR(entry.stat().st_mode)
            except OSError:
                is_directory = False
            if is_directory:
                yield path
            else:
                files.append(path)

    waiting = [directory]
    while waiting:
        waiting += enter(waiting.pop())
    return tuple(sorted(files)), tuple(sorted(problems))


def read_tree(directory: Path) -> Tree:
    """Find the ELF files below a directory; see all_files()."""
    files, problems = all_files(directory)
    elf: list[Path] = []
    wrong = list(problems)
    for path in files:
        if (problem := _problem(path)) is None:
            elf.append(path)
        elif problem:
            wrong.append((path, problem))
    return Tree(tuple(elf), tuple(sorted(wrong)))


def ask(
    python: Path, program: Literal["imports", "gpu"], question: dict[str, Any], timeout: int = 600
) -> dict[str, Any] | str:
    """Run a program of `pytorch_variants.verify.inside` with a Python of its own.

    Gives its answer, or the last line of what it said instead. Raises UserError where the Python does not
    run at all. `timeout` is in seconds.
    """
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    source = str(files("pytorch_variants").joinpath(".."))
    command = [str(python), "-s", "-B", "-c", _LAUNCH.format(program), source, json.dumps(question)]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, timeout=timeout
        )
    except OSError as error:
        raise UserError(f"{python}: {error.strerror}; name an environment, as in result") from error
    except subprocess.TimeoutExpired:
        return f"did not end within {timeout} s"
    if result.returncode:
        lines = result.stderr.strip().splitlines()
        return lines[-1] if lines else f"ended by signal {-result.returncode}"
    answer: dict[str, Any] = json.loads(result.stdout.splitlines()[-1])
    return answer
