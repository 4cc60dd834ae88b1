"""An installed PyTorch and what lies around it: which files there are, and questions to its own Python."""

import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from importlib.resources import files
from pathlib import Path
from stat import S_ISREG
from typing import Any, Literal

from pytorch_variants.binary.fatbin import is_bare
from pytorch_variants.errors import UserError

# This package is made from its directories alone, so that the environment's own modules stay the only ones on
# the path, whatever it has by that name. The current directory could have a torch of its own: it goes.
_LAUNCH = """
import sys, types
root = sys.argv.pop(1)
sys.path[:] = [place for place in sys.path if place]
for name, place in (("pytorch_variants", root), ("pytorch_variants.verify", root + "/verify")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [place]
from pytorch_variants.verify.inside import {0}
{0}.main()
"""
# The last message; how much of the answers and of standard error is kept; seconds that a process which has
# closed its answers may take to end.
_DONE = b'{"done": true}\n'
_MOST_ANSWERS, _MOST_ERRORS = 1 << 26, 1 << 16
_GRACE = 5.0
_MANY = 1000  # files that are handed to another process together
# The caller's libraries and packages would be found before the environment's own.
_NOT_INHERITED = frozenset({"LD_LIBRARY_PATH", "LD_PRELOAD", "PYTHONPATH", "PYTHONHOME"})


@dataclass(frozen=True)
class Interpreter:
    """A Python, and the directory that it is given to look for packages in, if they are not its own."""

    path: Path
    packages: Path | None = None


@dataclass(frozen=True)
class Environment:
    """Where torch is; `torches` are the torch packages of its Pythons, one if all is well."""

    python: Interpreter
    torches: tuple[Path, ...]

    @property
    def torch(self) -> Path:
        """…/site-packages/torch."""
        return self.torches[0]

    @property
    def packages(self) -> Path:
        """…/site-packages."""
        return self.torch.parent


_WHERE = """
import importlib.util, json, os, sys
places = {}
for name in json.loads(sys.argv[2]):
    try:
        spec = importlib.util.find_spec(name)
    except Exception:
        spec = None
    found = (list(spec.submodule_search_locations or ()) or [spec.origin]) if spec else []
    places[name] = [place for place in found if place]
os.write(int(sys.argv[1]), json.dumps(places).encode())
"""


def find_interpreter(root: Path) -> Interpreter:
    """The Python of an environment, or for a directory of packages one that they are made for.

    Raises UserError where there is none.
    """
    for name in ("python", "python3"):
        if os.path.lexists(path := root / "bin" / name):
            return Interpreter(path)
    for extension in sorted(root.glob("torch/_C.cpython-*.so")):
        digits = extension.name.split("-")[1]
        name = f"python{digits[0]}.{digits[1:]}"
        if found := shutil.which(name):
            return Interpreter(Path(found), root.absolute())
        raise UserError(f"{root}: its packages are for {name}, which is not on PATH; install it")
    raise UserError(f"{root}: no bin/python in it; name an environment, as in result")


def ask_where(python: Interpreter, names: Sequence[str]) -> dict[str, list[Path]]:
    """Where a Python would import packages from, which it does not do here."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as answer:
        try:
            command = [str(python.path), "-s", "-B", "-c", _WHERE, str(writing), json.dumps(names)]
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_inherited(python),
                pass_fds=[writing],
                check=False,
                timeout=_GRACE * 10,
            )
        except (OSError, subprocess.TimeoutExpired):
            return {}
        finally:
            os.close(writing)
        os.set_blocking(reading, False)
        said = answer.read() or b""
    try:
        return {name: [Path(place) for place in places] for name, places in json.loads(said).items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def find_environment(root: Path) -> Environment:
    """Find torch in an environment: a link like result, a venv, or a directory that pip has filled.

    Raises UserError where there is none.
    """
    if (root / "torch" / "__init__.py").is_file():
        return Environment(find_interpreter(root), (root.absolute() / "torch",))
    places = [*root.glob("lib/python3*/site-packages/torch"), *root.glob("lib/python3*/dist-packages/torch")]
    torches = tuple(sorted(places))
    if not torches and os.path.lexists(root / "bin"):
        # One that takes torch from elsewhere: the system's packages, a .pth file.
        torches = tuple(ask_where(find_interpreter(root), ["torch"]).get("torch", ()))
    if not torches:
        raise UserError(
            f"{root}: no torch package below lib/python3*/site-packages; name the environment, as in result"
        )
    return Environment(find_interpreter(root), torches)


@dataclass(frozen=True)
class Tree:
    """What lies below a directory: ELF files by their content, and what could not be looked at.

    `python` are the files that are Python by their names, which is what Python goes by: paths as text, since
    there are ten thousand. `bare` are those that are GPU code by themselves.
    """

    elf: tuple[Path, ...]
    problems: tuple[tuple[Path, str], ...]
    python: tuple[str, ...] = ()
    bare: tuple[Path, ...] = ()


def _named_as_a_library(name: str) -> bool:
    return name.endswith(".so") or ".so." in name


class _Kind(Enum):
    """What a file without a problem is."""

    ELF = auto()
    BARE = auto()
    OTHER = auto()


def _kind(path: str, name: str) -> _Kind | str:
    """What a file is, or what is wrong with it."""
    try:
        # There are tens of thousands of files: no more than these calls for each. Some FIFO or device could
        # keep whoever opens it waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not S_ISREG(os.fstat(descriptor).st_mode):
                return "neither a file nor a directory"
            start = os.read(descriptor, 512)
            if start[:4] == b"\x7fELF":
                return _Kind.ELF
            if b"GNU ld script" in start:
                return _Kind.OTHER
            if is_bare(name, start):
                return _Kind.BARE
        finally:
            os.close(descriptor)
    except OSError as error:
        return error.strerror or str(error)
    return "not an ELF file" if _named_as_a_library(name) else _Kind.OTHER


def _walk(directory: Path) -> tuple[list[os.DirEntry[str]], list[tuple[str, str]]]:
    files: list[os.DirEntry[str]] = []
    problems: list[tuple[str, str]] = []
    seen: set[tuple[int, int]] = set()
    with suppress(OSError):
        seen = {(status.st_dev, status.st_ino) for status in map(os.stat, directory.resolve().parents)}
    waiting = [str(directory)]
    while waiting:
        place = waiting.pop()
        try:
            status = os.stat(place)  # noqa: PTH116
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(place) as entries:
                found = list(entries)
        except OSError as error:
            problems.append((place, error.strerror or str(error)))
            continue
        for entry in found:
            try:
                # nixpkgs links torch/lib to another output, hence links too.
                is_directory = entry.is_dir()
            except OSError:
                is_directory = False
            if is_directory:
                waiting.append(entry.path)
            else:
                files.append(entry)
    return sorted(files, key=lambda entry: entry.path), sorted(problems)


def _paths(problems: Iterable[tuple[str, str]]) -> tuple[tuple[Path, str], ...]:
    return tuple((Path(path), problem) for path, problem in problems)


def all_files(directory: Path) -> tuple[tuple[Path, ...], tuple[tuple[Path, str], ...]]:
    """All that is no directory below a directory, and what could not be looked at, each in a fixed order.

    Each real directory is entered once. Links are followed, unless they lead to what holds the directory.
    """
    files, problems = _walk(directory)
    return tuple(Path(entry.path) for entry in files), _paths(problems)


def read_tree(directory: Path, pool: Executor | None = None) -> Tree:
    """Find the ELF files below a directory; see all_files(). With a pool, it is that which opens them."""
    files, problems = _walk(directory)
    paths, names = [entry.path for entry in files], [entry.name for entry in files]
    found = pool.map(_kind, paths, names, chunksize=_MANY) if pool else map(_kind, paths, names)
    kinds = list(zip(paths, found, strict=True))
    problems += [(path, kind) for path, kind in kinds if isinstance(kind, str)]
    elf, bare = (
        tuple(Path(path) for path, kind in kinds if kind is wanted) for wanted in (_Kind.ELF, _Kind.BARE)
    )
    python = tuple(path for path in paths if path.endswith(".py"))
    return Tree(elf, _paths(sorted(problems)), python, bare)


@dataclass(frozen=True)
class Conversation:
    """What a program in the environment's Python has said, message by message; `end` if it broke off.

    `end` is a line: how the process ended, or that it had to be ended.
    """

    messages: tuple[dict[str, Any], ...]
    end: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """All messages as one."""
        return {key: value for message in self.messages for key, value in message.items()}


def _how_it_ended(code: int, errors: bytes) -> str:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    if code < 0:
        with suppress(ValueError):
            return f"ended by {signal.Signals(-code).name}"
        return f"ended by signal {-code}"
    said = f": {lines[-1][:500]}" if code and lines else ""
    return f"the process ended itself, exit code {code}{said}"


def _listen(process: subprocess.Popen[bytes], answers: int, patience: float) -> tuple[bytes, bytes, bool]:
    """Read until the last message, the process's end or too long a silence: answers, errors, silence."""
    assert process.stderr
    said, errors = bytearray(), bytearray()
    os.set_blocking(process.stderr.fileno(), False)
    deadline = time.monotonic() + patience
    with selectors.DefaultSelector() as selector:
        selector.register(answers, selectors.EVENT_READ, said)
        selector.register(process.stderr, selectors.EVENT_READ, errors)
        # What it has started may hold on to both.
        ended = os.pidfd_open(process.pid)
        selector.register(ended, selectors.EVENT_READ)
        try:
            while not said.endswith(_DONE) and len(said) < _MOST_ANSWERS:
                ready = {key.fd: key for key, _ in selector.select(max(0.0, deadline - time.monotonic()))}
                if answers in ready:
                    data = os.read(answers, 1 << 16)
                    said += data
                    deadline = time.monotonic() + patience
                    if not data:
                        break
                elif process.stderr.fileno() in ready:
                    errors += (data := os.read(process.stderr.fileno(), 1 << 16))
                    # Only the end of it is shown, and a package may say anything.
                    del errors[:-_MOST_ERRORS]
                    if not data:
                        selector.unregister(process.stderr)
                elif ended in ready:
                    break
                if time.monotonic() > deadline:
                    return bytes(said), bytes(errors), True
        finally:
            os.close(ended)
    with suppress(BlockingIOError):
        while data := os.read(process.stderr.fileno(), 1 << 16):
            errors += data
            del errors[:-_MOST_ERRORS]
    return bytes(said), bytes(errors), False


def _inherited(python: Interpreter) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    return {**environment, **({"PYTHONPATH": str(python.packages)} if python.packages else {})}


def converse(
    python: Interpreter, program: Literal["imports", "gpu"], question: dict[str, Any], patience: float
) -> Conversation:
    """Run a program of `pytorch_variants.verify.inside` with a Python of its own.

    It and all that it has started is ended when it has given its last message, or after `patience` seconds
    without one. Raises UserError where the Python does not run at all.
    """
    source = str(files("pytorch_variants"))
    reading, writing = os.pipe()
    command = [str(python.path), "-s", "-B", "-c", _LAUNCH.format(program), source, str(writing)]
    with os.fdopen(reading, "rb"), tempfile.TemporaryFile() as asked:
        asked.write(json.dumps(question).encode())
        asked.seek(0)
        try:
            process = subprocess.Popen(
                command,
                stdin=asked,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env=_inherited(python),
                pass_fds=[writing],
                start_new_session=True,
            )
        except OSError as error:
            raise UserError(f"{python.path}: {error.strerror}; name an environment, as in result") from error
        finally:
            os.close(writing)
        with process:
            try:
                said, errors, silent = _listen(process, reading, patience)
                if not silent and not said.endswith(_DONE):
                    # The answers have ended: so has the process, or it has closed what is not its own.
                    with suppress(subprocess.TimeoutExpired):
                        process.wait(_GRACE)
            finally:
                code = process.poll()
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
    messages = []
    for line in said.splitlines():
        with suppress(ValueError):
            message = json.loads(line)
            if isinstance(message, dict):
                messages.append(message)
    if messages and messages[-1].get("done"):
        return Conversation(tuple(messages[:-1]))
    if silent:
        end = f"no answer for {patience:g} s"
    elif code is None:
        end = "it closed the descriptor for its answers"
    else:
        end = _how_it_ended(code, errors)
    return Conversation(tuple(messages), end)
