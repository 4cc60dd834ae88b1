"""What a program writes to a terminal."""

import os
import pty
import subprocess
import tty
from collections.abc import Callable, Mapping


def on_a_terminal(
    *command: str,
    environment: Mapping[str, str] | None = None,
    seen: Callable[[str], None] = lambda shown: None,
) -> str:
    """All that is shown of its standard error; `seen` is given what there is, each time there is more."""
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=theirs):
        os.close(theirs)
        shown = b""
        # The end of a terminal is an error.
        while chunk := _read(ours):
            shown += chunk
            seen(shown.decode(errors="replace"))
    os.close(ours)
    return shown.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
