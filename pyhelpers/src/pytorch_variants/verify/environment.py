"""An installed PyTorch and what lies around it: which files there are, and questions to its own Python."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from pytorch_variants.errors import UserError

_LIBRARY = re.compile(r"\.so(\.[0-9.]+)?$")
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


def libraries(directory: Path) -> Iterator[Path]:
    """The shared libraries below a directory, in a fixed order."""
    # nixpkgs links torch/lib to another output, hence followlinks.
    for place, directories, names in os.walk(directory, followlinks=True):
        directories.sort()
        yield from (Path(place) / name for name in sorted(names) if _LIBRARY.search(name))


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
