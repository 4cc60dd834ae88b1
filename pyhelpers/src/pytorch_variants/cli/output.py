"""What the command line prints: tables for people, JSON for machines, errors in one line."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from pytorch_variants.retarget.library import Progress


def console() -> "Console":
    """Standard output for tables and styles; plain text where it is no terminal or NO_COLOR is set."""
    # Half of the start-up time, and --json does without.
    from rich.console import Console

    return Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")


def megabytes(size: int) -> str:
    """A size for people."""
    return f"{size / 1e6:.1f} MB"


@contextmanager
def follow_progress() -> Iterator[Callable[[str], "Progress | None"]]:
    """What follows the work on each file that is named, by a bar on a terminal that goes when it is done."""
    from rich.console import Console

    terminal = Console(stderr=True)
    if not terminal.is_terminal:
        yield lambda name: None
        return

    from rich.progress import Progress as Bars

    with Bars(console=terminal, transient=True) as bars:

        def follow(name: str) -> "Progress":
            for bar in bars.task_ids:
                bars.remove_task(bar)
            bar = bars.add_task(name, total=None)
            return lambda done, total: bars.update(bar, completed=done, total=total)

        yield follow


def print_json(data: Any, indent: int | None = 2) -> None:
    """One JSON document on standard output, of dicts, lists, tuples, texts and numbers."""
    print(json.dumps(data, indent=indent))


def print_error(command: str, message: str) -> None:
    """One line on standard error, whatever the message quotes: control characters are escaped."""
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)
    print(f"{command}: {line}", file=sys.stderr)
