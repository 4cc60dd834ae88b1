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
    runtime: Annotated[
        bool, typer.Option("--runtime", help="Compute on this machine's GPU, instead of reading the files.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    junit: Annotated[Path | None, typer.Option(help="Also write the report as JUnit XML.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="Also write report.json, .txt and .xml into this directory.")
    ] = None,
) -> None:
    """Check that a build is what its name says: its files without a GPU, or with --runtime its results.

    Example: pytorch-variants verify result --variant pytorch-sm90-avx512
    """
    from rich.console import Console

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
        print_table(report, Console())
    raise typer.Exit(0 if report.passed else 1)


@app.command()
def retarget(
    torch: Annotated[Path, typer.Argument(help="An installed torch package, …/site-packages/torch.")],
    gpu: Annotated[list[str], typer.Option(help="A GPU to keep, in any spelling; may be repeated.")],
    in_place: Annotated[bool, typer.Option("--in-place", help="Change the files themselves.")] = False,
    keep_ptx: Annotated[bool, typer.Option("--keep-ptx", help="Keep the PTX of these GPUs.")] = False,
) -> None:
    """Cut the GPU code of PyTorch's own libraries down to some architectures.

    Example: pytorch-variants retarget venv/lib/python3.11/site-packages/torch --gpu h100 --in-place
    """
    from rich.console import Console
    from rich.table import Table

    from pytorch_variants.hardware import parse_gpu
    from pytorch_variants.retarget import retarget_torch

    if not in_place:
        raise UserError(f"{torch}: its files would be changed; say so with --in-place")
    table = Table(title="GPU code", title_justify="left")
    for title in ("library", "before", "after", "kept", "dropped"):
        table.add_column(title, justify="right" if title in ("before", "after") else "left")
    for result in retarget_torch(torch, [parse_gpu(text).number for text in gpu], keep_ptx=keep_ptx):
        table.add_row(
            result.path.name,
            f"{result.before / 1e6:.1f} MB",
            f"{result.after / 1e6:.1f} MB",
            " ".join(result.kept),
            " ".join(result.dropped),
        )
    Console().print(table)


def main() -> None:
    """Run the command line; what the caller can mend is one line on standard error."""
    try:
        app()
    except UserError as error:
        print(f"pytorch-variants: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
