"""The command line. Exit codes: 0 all right, 1 a finding, 2 a wrong call or nothing to check.

A command is a function here that reads its arguments, calls the module that does the work and prints.
It imports what it needs itself, so that no command waits for another's libraries. It raises UserError
for what the caller can mend and typer.Exit(1) for a finding.
"""

import io
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from pytorch_variants import cli_lock, cli_plan
from pytorch_variants.errors import UserError
from pytorch_variants.options import HERE, Cpus, Cuda, Flake, Gpus, Json, Nixpkgs, Systems, complete_what
from pytorch_variants.output import console, print_error, print_json

PROGRAM = "pytorch-variants"

app = typer.Typer(
    pretty_exceptions_enable=False,
    help="Which PyTorch a machine's hardware needs, and proof that a build is that one.",
)

app.add_typer(cli_lock.app, name="lock")
app.command()(cli_plan.plan)


# The class of Typer's own complaints is click's or, in later releases, Typer's copy of it.
_UsageError: Any = typer.BadParameter.__base__

# What a shell reports of a program that SIGPIPE has ended.
_CLOSED_PIPE = 128 + signal.SIGPIPE


@app.command()
def lookup(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="WHAT",
            help="GPUs and instruction sets, in any spelling; what is one name needs no quotes.",
            autocompletion=complete_what,
        ),
    ],
    json: Json = False,
) -> None:
    """Say what the name of a GPU, an architecture or an instruction set stands for.

    Example: pytorch-variants lookup "NVIDIA H100 80GB HBM3" sm_89 RTX4090 avx512
    """
    from pytorch_variants.lookup import find_all, to_json

    matches = find_all(what)
    if json:
        print_json(to_json(matches))
    else:
        from pytorch_variants.show import print_matches

        print_matches(console(), matches)


@app.command()
def detect(
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            help="A GPU of another machine, in any spelling; may be repeated.", autocompletion=complete_what
        ),
    ] = None,
    cpuinfo: Annotated[Path | None, typer.Option(help="A copy of another machine's /proc/cpuinfo.")] = None,
    driver: Annotated[
        str | None, typer.Option(help="The driver's version on another machine, as in 570.86.15.")
    ] = None,
    nixpkgs: Nixpkgs = "locked",
    flake: Flake = HERE,
    json: Json = False,
) -> None:
    """Find the best variant for this machine's GPUs, driver and CPU, or for another's.

    Exit code 1: as the machine is, that variant would not run there.

    Example: pytorch-variants detect --gpu "RTX 4090" --cpuinfo cpuinfo.txt --driver 570.86.15
    """
    from dataclasses import asdict, replace

    from pytorch_variants.advice import advise
    from pytorch_variants.detect import find_cpu, find_gpus, name_gpus
    from pytorch_variants.hardware import version

    found = name_gpus(gpu, driver) if gpu else find_gpus()
    if driver is not None:
        version(driver)
        found = replace(found, driver=driver)
    cpu = find_cpu(cpuinfo) if cpuinfo else find_cpu()
    targets: Sequence[str] = ()
    if nixpkgs == "embedded":
        from pytorch_variants import lock, wheelpins

        targets = wheelpins.read(lock.wheels_file(flake))["gpuTargets"]
    advice = advise(found, cpu, targets)
    if json:
        machine = {**asdict(found), "cpu": {"model": cpu.model, "platform": cpu.platform}}
        print_json({"schema": 1, "machine": machine, **asdict(advice)})
    else:
        from pytorch_variants.show import print_advice

        print_advice(console(), advice)
    raise typer.Exit(1 if advice.problem else 0)


@app.command("list")
def list_variants(
    system: Systems = None,
    gpu: Gpus = None,
    cpu: Cpus = None,
    cuda: Cuda = None,
    github_matrix: Annotated[
        bool, typer.Option("--github-matrix", help="Print one line for a GitHub Actions matrix.")
    ] = False,
    json: Json = False,
) -> None:
    """List the variants: a matrix if the terminal is wide enough, else their names.

    All filters but --cuda may be repeated.

    Example: pytorch-variants list --system x86_64-linux --gpu H100 --gpu L40S --cuda 12.8 --github-matrix
    """
    from dataclasses import asdict

    from pytorch_variants.matrix import entries

    found = entries(system or (), gpu or (), cpu or (), cuda)
    rows = [asdict(entry) for entry in found]
    if github_matrix:
        # One line: a step's output is a line of $GITHUB_OUTPUT.
        print_json({"include": rows}, indent=None)
    elif json:
        print_json({"schema": 1, "variants": rows})
    else:
        from pytorch_variants.show import print_matrix

        print_matrix(console(), found)


@app.command()
def verify(
    environment: Annotated[Path, typer.Argument(help="A directory with bin/python, as in result.")],
    variant: Annotated[str, typer.Option(help="The variant that it should be.")],
    origin: Annotated[str | None, typer.Option(help="How it was made, if not compiled from source.")] = None,
    runtime: Annotated[
        bool, typer.Option("--runtime", help="Compute on this machine's GPU, instead of reading the files.")
    ] = False,
    json: Json = False,
    junit: Annotated[Path | None, typer.Option(help="Also write the report as JUnit XML.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Also write report.json, .txt and .xml into this directory.")
    ] = None,
) -> None:
    """Check that a build is what its name says: its files without a GPU, or with --runtime its results.

    Example: pytorch-variants verify result --variant pytorch-sm90-avx512
    """
    from pytorch_variants.names import parse_name
    from pytorch_variants.report import COMPILED, print_table, to_json, to_junit, write
    from pytorch_variants.verify import verify as verify_files
    from pytorch_variants.verify_runtime import verify_runtime

    check = verify_runtime if runtime else verify_files
    report = check(environment, parse_name(variant), origin or COMPILED)
    if junit:
        junit.write_text(to_junit(report), encoding="utf-8")
    if output:
        write(report, output)
    if json:
        print(to_json(report))
    else:
        print_table(report, console())
    raise typer.Exit(0 if report.passed else 1)


@app.command()
def retarget(
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Wheels, installed packages or environments, libraries.", metavar="INPUT"),
    ],
    gpu: Annotated[list[str], typer.Option(help="GPUs to keep, in any spelling: h100, or sm80,sm90.")],
    keep_ptx: Annotated[bool, typer.Option("--keep-ptx", help="Keep the PTX of these GPUs.")] = False,
    compatible: Annotated[
        bool, typer.Option("--compatible", help="For a GPU without code, keep what runs on it: sm_86 on 8.9.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The directory of new files; else the current one.")
    ] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Change the files themselves.")] = False,
    json: Json = False,
) -> None:
    """Cut the GPU code of PyTorch's own libraries down to some architectures, and the files with it.

    Example: pytorch-variants retarget torch-2.10.0-cp311-cp311-manylinux_2_28_x86_64.whl --gpu h100
    """
    from functools import partial

    from rich.console import Console
    from rich.progress import Progress, TaskID

    from pytorch_variants.hardware import parse_gpu
    from pytorch_variants.retarget_report import Options, print_account, retarget_path, to_json

    gpus = [parse_gpu(name.strip()) for text in gpu for name in text.split(",")]
    options = Options(
        wanted=tuple(gpu.number for gpu in gpus),
        keep_ptx=keep_ptx or any(gpu.target.endswith("+PTX") for gpu in gpus),
        compatible=compatible,
        in_place=in_place,
        output=output,
    )

    def advance(bar: TaskID, done: int, total: int) -> None:
        bars.update(bar, completed=done, total=total)

    accounts = []
    terminal = Console(stderr=True)
    with Progress(console=terminal, transient=True, disable=not terminal.is_terminal) as bars:
        for path in inputs:
            bar = bars.add_task(path.name, total=None)
            account = retarget_path(path, options, partial(advance, bar))
            accounts.append(account)
            bars.remove_task(bar)
            if not json:
                print_account(account, console())
    if json:
        print(to_json(accounts))


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
