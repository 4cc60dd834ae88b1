"""Writing a file so that nobody ever finds half of it."""

import os
import tempfile
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Give an existing file another content, at once: whoever reads it gets the old one or the new one.

    The new content is on the disk before it takes the file's place, so that this holds for a process
    that is killed and for a machine that loses its power. A symbolic link stays one; the mode stays.
    Raises OSError.
    """
    target = path.resolve()
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, target.stat().st_mode & 0o7777)
            os.fsync(descriptor)
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
