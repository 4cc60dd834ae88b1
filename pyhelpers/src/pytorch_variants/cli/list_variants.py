"""The command `list`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from pytorch_variants.cli.frame import command
from pytorch_variants.cli.options import as_json, cpu_filter, cuda_filter, gpu_filter, system_filter
from pytorch_variants.cli.output import console, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from pytorch_variants.names.matrix import Entry


def print_matrix(console: "Console", entries: Sequence["Entry"]) -> None:
    """The variants as a table of GPUs and instruction sets; where it does not fit, the names, one a line."""
    from rich.measure import Measurement
    from rich.table import Table

    from pytorch_variants.hardware.table import generation, gpus

    by_pair = {(entry.gpu, entry.cpu): entry for entry in entries}
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, style="dim")
    sets = list(dict.fromkeys(entry.cpu for entry in entries))
    for name in sets:
        table.add_column(name, justify="center", no_wrap=True)
    mark = "✓" if console.encoding.startswith("utf") else "x"
    for name in dict.fromkeys(entry.gpu for entry in entries):
        marks = [mark if (name, cpu) in by_pair else "" for cpu in sets]
        table.add_row(name, generation(gpus()[name]) if name in gpus() else "no GPU", *marks)
    unbounded = console.options.update(max_width=1000)
    if console.is_terminal and Measurement.get(console, unbounded, table).maximum <= console.width:
        console.print(table)
        console.print(f"{len(entries)} variants, the first is {entries[0].name}", style="dim")
    else:
        for entry in entries:
            print(entry.name)


@command
@system_filter
@gpu_filter
@cpu_filter
@cuda_filter
@click.option("--github-matrix", is_flag=True, help="Print one line for a GitHub Actions matrix.")
@as_json
def list_variants(
    system: Sequence[str],
    gpu: Sequence[str],
    cpu: Sequence[str],
    cuda: str | None,
    github_matrix: bool,
    json: bool,
) -> None:
    """List the variants: a matrix if the terminal is wide enough, else their names.

    Example: pytorch-variants list --system x86_64-linux --gpu H100 --gpu L40S --cuda 12.8 --github-matrix
    """
    from dataclasses import asdict

    from pytorch_variants.names.matrix import entries

    found = entries(system, gpu, cpu, cuda)
    rows = [asdict(entry) for entry in found]
    if github_matrix:
        # One line: a step's output is a line of $GITHUB_OUTPUT.
        print_json({"include": rows}, indent=None)
    elif json:
        print_json({"schema": 1, "variants": rows})
    else:
        print_matrix(console(), found)
