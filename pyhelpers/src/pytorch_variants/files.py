"""Files of JSON, and writing a file so that nobody ever finds half of it."""

import json
import os
import tempfile
from pathlib import Path
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
