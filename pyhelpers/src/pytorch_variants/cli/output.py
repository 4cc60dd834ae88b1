"""What the command line prints: tables for people, JSON for machines, errors in one line."""

import json
import os
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def console() -> "Console":
    """Standard output for tables and styles; plain text where it is no terminal or NO_COLOR is set."""
    # Half of the start-up time, and --json does without.
    from rich.console import Console

    return Console(highlight=False, color_system=None if os.environ.get("NO_COLOR") else "auto")


def print_json(data: Any, indent: int | None = 2) -> None:
    """One JSON document on standard output, of dicts, lists, tuples, texts and numbers."""
    print(json.dumps(data, indent=indent))


def print_error(command: str, message: str) -> None:
    """One line on standard error, whatever the message quotes: control characters are escaped."""
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in message)
    print(f"{command}: {line}", file=sys.stderr)
