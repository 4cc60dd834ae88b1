"""The command line, called in this process or as a process of its own."""

import contextlib
import io
import os
import subprocess
import sys
from typing import NamedTuple

from pytorch_variants.cli import run


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


def call(*arguments: object) -> Outcome:
    """Run a command here, with the streams that a program would have."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([str(argument) for argument in arguments])
    return Outcome(code, out.getvalue(), err.getvalue())


def program(*arguments: str | bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Run it as users do."""
    return subprocess.run(
        [sys.executable, "-m", "pytorch_variants", *arguments],
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
    )


def is_refused(outcome: Outcome) -> bool:
    """One line on standard error that says what to write instead, and nothing else."""
    line = outcome.err.removesuffix("\n")
    ways_out = ("nearest: ", "write ", "; name ", ": name ", "; see pytorch-variants", "leave out ")
    return (
        outcome.code == 2
        and not outcome.out
        and line.startswith("pytorch-variants")
        and line.isprintable()
        and any(way_out in line for way_out in ways_out)
    )
