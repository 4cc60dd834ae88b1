"""Files of JSON, and writing a file so that nobody ever finds half of it."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from pytorch_variants.errors import UserError


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises UserError if that is no JSON in UTF-8, and OSError."""
    try:
        data = json.loads(path.read_bytes().decode())
        # Escapes can spell what is no text.
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeError:
        problem = "not UTF-8"
    except (ValueError, RecursionError):
        problem = "not JSON"
    else:
        return data
    raise UserError(f"{path}: {problem}; restore it (git checkout)")


def _fcntl(target: Path) -> ModuleType:
    try:
        import fcntl
    except ImportError:
        raise UserError(
            f"{target}: written by calls that Windows has not: write it on Linux or macOS"
        ) from None
    return fcntl


@contextmanager
def replacing(target: Path, mode: int) -> Iterator[int]:
    """A new file that takes the target's place when the block ends; the target is the old or the new file.

    Until then it is `.NAME.part` beside it: a run that was killed leaves that one file, which the next
    run takes over, and a run that fails removes it. Not synchronised to the disk, as with `cp`. Raises
    UserError where another process is at work on the same target, and on Windows.
    """
    fcntl = _fcntl(target)
    part = target.with_name(f".{target.name}.part")
    planted = UserError(f"{part}: somebody put it there, and it leads elsewhere: remove it")
    # Never through a link: in a directory that others can write to it may lead to any file of ours.
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(part, flags, 0o600)
    except OSError as error:
        raise planted if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO) else error from error
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            raise planted
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(descriptor), part.lstat())
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise UserError(f"{target}: another process is writing it: wait until that is done")
        try:
            if os.fstat(descriptor).st_size:
                # Not always: ext4 starts writing to the disk when a file that was truncated is closed.
                os.truncate(descriptor, 0)
            yield descriptor
            os.fchmod(descriptor, stat.S_IMODE(mode))
            part.replace(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a file, at once; one that has this content already stays as it is. Raises as `replacing`."""
    data = text.encode()
    if path.is_file() and path.read_bytes() == data:
        return
    with replacing(path, 0o644) as descriptor, open(descriptor, "wb", closefd=False) as file:
        file.write(data)


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Keep other processes that ask for the same out of a directory until the block ends.

    Raises UserError where one is in there, and on Windows.
    """
    fcntl = _fcntl(directory)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise UserError(f"{directory}: another process is writing it: wait until that is done") from None
    finally:
        os.close(descriptor)


def replace_text(path: Path, text: str) -> None:
    """Give an existing file another content, at once: whoever reads it gets the old one or the new one.

    The new content is on the disk before it takes the file's place, so that this holds for a process
    that is killed and for a machine that loses its power. A symbolic link stays one; the mode stays.
    Raises UserError where another process writes it, and OSError.
    """
    target = path.resolve()
    with replacing(target, target.stat().st_mode) as descriptor:
        with open(descriptor, "w", encoding="utf-8", newline="", closefd=False) as file:
            file.write(text)
        os.fsync(descriptor)
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
