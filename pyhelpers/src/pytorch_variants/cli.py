"""The command line. Exit codes: 0 all right, 1 a finding, 2 a wrong call or nothing to check."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from pytorch_variants.errors import UserError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Which PyTorch a machine's hardware needs, and proof that a build is that one.",
)


@app.command()
def verify(
    environment: Annotated[Path, typer.Argument(help="A directory with bin/python, as in result.")],
    variant: Annotated[str, typer.Option(help="The variant that it should be.")],
    origin: Annotated[str | None, typer.Option(help="How it was made, if not compiled from source.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    output: Annotated[
        Path | None, typer.Option(help="Also write report.json and report.txt into this directory.")
    ] = None,
) -> None:
    """Check that a build is what its name says, without a GPU.

    Example: pytorch-variants verify result --variant pytorch-sm90-avx512
    """
    from rich.console import Console

    from pytorch_variants.names import parse_name
    from pytorch_variants.report import print_table, to_json
    from pytorch_variants.verify import COMPILED
    from pytorch_variants.verify import verify as check

    report = check(environment, parse_name(variant), origin or COMPILED)
    if output:
        output.mkdir(parents=True, exist_ok=True)
        (output / "report.json").write_text(to_json(report) + "\n")
        with (output / "report.txt").open("w", encoding="utf-8") as file:
            print_table(report, Console(file=file, width=110))
    if json:
        print(to_json(report))
    else:
        print_table(report, Console())
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
    json: Annotated[bool, typer.Option("--json", help="Print the account as JSON.")] = False,
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
                print_account(account, Console())
    if json:
        print(to_json(accounts))


def main() -> None:
    """Run the command line; what the caller can mend is one line on standard error."""
    try:
        app()
    except UserError as error:
        print(f"pytorch-variants: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
