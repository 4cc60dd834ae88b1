"""The command line. Exit codes: 0 all right, 1 a finding, 2 a wrong call or nothing to check.

A command is a module here, with its table for people. Its function reads the arguments, calls the package
that does the work and prints. It imports what it needs itself, so that no command waits for another's
libraries. It raises UserError for what the caller can mend and typer.Exit(1) for a finding.
"""

import io
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

import typer

from pytorch_variants.cli import lock
from pytorch_variants.cli.detect import detect
from pytorch_variants.cli.inspect import inspect
from pytorch_variants.cli.list_variants import list_variants
from pytorch_variants.cli.lookup import lookup
from pytorch_variants.cli.output import print_error
from pytorch_variants.cli.plan import plan
from pytorch_variants.cli.retarget import retarget
from pytorch_variants.cli.verify import verify
from pytorch_variants.errors import UserError

PROGRAM = "pytorch-variants"

app = typer.Typer(
    pretty_exceptions_enable=False,
    help="Which PyTorch a machine's hardware needs, and proof that a build is that one.",
)

app.add_typer(lock.app, name="lock")
for command in (lookup, detect, inspect, verify, retarget, plan):
    app.command()(command)
app.command("list")(list_variants)

# The class of Typer's own complaints is click's or, in later releases, Typer's copy of it.
_UsageError: Any = typer.BadParameter.__base__

# What a shell reports of a program that SIGPIPE has ended.
_CLOSED_PIPE = 128 + signal.SIGPIPE


def _explain(error: Any) -> tuple[str, str]:
    """The command and what was wrong with the call, of one of Typer's usage errors."""
    command = error.ctx.command_path if error.ctx else PROGRAM
    message = error.format_message().rstrip(".?").replace(". Did", "; did")
    return command, f"{message[:1].lower()}{message[1:]}; see {command} --help"


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; what the caller can mend is one line on standard error."""
    try:
        code = app(list(arguments) or ["--help"], prog_name=PROGRAM, standalone_mode=False)
        print(end="", flush=True)
        return code or 0
    except UserError as error:
        print_error(PROGRAM, str(error))
    except _UsageError as error:
        print_error(*_explain(error))
    except BrokenPipeError:
        return _CLOSED_PIPE
    except OSError as error:
        print_error(PROGRAM, f"{error.filename or 'standard output'}: {error.strerror}")
    except SystemExit as stop:
        # So leave Typer and rich where the reader of a pipe has gone.
        return _CLOSED_PIPE if stop.code == 1 else int(stop.code or 0)
    return 2


def main() -> None:
    """The program: `run` on the process's own arguments and streams."""
    for stream in (sys.stdout, sys.stderr):
        # Not every terminal can show what people and files can write.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    code = run(sys.argv[1:])
    try:
        print(end="", flush=True)
    except OSError:
        # Python would flush once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
