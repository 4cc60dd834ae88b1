"""The command line. Exit codes: 0 all right, 1 a finding, 2 a wrong call or nothing to check.

A command is a module here, with its table for people. Its function reads the arguments, calls the package
that does the work and prints. It imports what it needs itself, so that no command waits for another's
libraries. It raises UserError for what the caller can mend and click's Exit(1) for a finding.
"""

import errno
import io
import os
import sys
from collections.abc import Sequence

import click

from pytorch_variants import __version__
from pytorch_variants.cli.frame import Commands
from pytorch_variants.cli.output import print_error
from pytorch_variants.errors import UserError

PROGRAM = "pytorch-variants"

_COMPLETE = "_PYTORCH_VARIANTS_COMPLETE"

# What a shell reports of a program that SIGPIPE (13, where there is such a signal) or SIGINT has ended.
_CLOSED_PIPE, _INTERRUPTED = 128 + 13, 128 + 2


def _show_completion(ctx: click.Context, param: click.Parameter, shell: str | None) -> None:
    """Print the shell's code, and that is all."""
    if shell and not ctx.resilient_parsing:
        from click.shell_completion import get_completion_class

        found = get_completion_class(shell)
        assert found is not None, f"click completes in {shell}"
        print(found(ctx.command, {}, PROGRAM, _COMPLETE).source())
        ctx.exit()


app = Commands(
    {
        "lookup": "lookup:lookup",
        "detect": "detect:detect",
        "list": "list_variants:list_variants",
        "plan": "plan:plan",
        "inspect": "inspect:inspect",
        "verify": "verify:verify",
        "retarget": "retarget:retarget",
        "index": "index:index",
        "lock": "lock:lock",
    },
    help="Which PyTorch a machine's hardware needs, and proof that a build is that one.",
    params=[
        click.Option(
            ["--show-completion"],
            type=click.Choice(["bash", "zsh", "fish"]),
            is_eager=True,
            expose_value=False,
            callback=_show_completion,
            help=f"Print what completes names in a shell. In ~/.bashrc: "
            f'eval "$({PROGRAM} --show-completion bash)"',
        ),
    ],
)
click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")(app)


def _explain(error: click.UsageError) -> tuple[str, str]:
    """The command and what was wrong with the call."""
    command = error.ctx.command_path if error.ctx else PROGRAM
    if error.ctx and isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
        message = "missing command"
    else:
        message = error.format_message().rstrip(".?").replace(". Did", "; did")
    return command, f"{message[:1].lower()}{message[1:]}; see {command} --help"


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; what the caller can mend is one line on standard error."""
    try:
        code = app.main(
            list(arguments) or ["--help"], prog_name=PROGRAM, complete_var=_COMPLETE, standalone_mode=False
        )
        print(end="", flush=True)
        return code or 0
    except UserError as error:
        print_error(PROGRAM, str(error))
    except click.UsageError as error:
        print_error(*_explain(error))
    except click.Abort:
        return _INTERRUPTED
    except BrokenPipeError:
        return _CLOSED_PIPE
    except OSError as error:
        if error.errno == errno.EINVAL and os.name == "nt":
            # So Windows says that the reader of a pipe has gone.
            return _CLOSED_PIPE
        print_error(PROGRAM, f"{error.filename or 'standard output'}: {error.strerror}")
    except SystemExit as stop:
        # So leave click and rich where the reader of a pipe has gone.
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
