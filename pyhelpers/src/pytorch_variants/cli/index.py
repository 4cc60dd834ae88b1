"""The command `index`, and the table of what is in one."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytorch_variants.cli.frame import PATH, argument, command
from pytorch_variants.cli.options import as_json, gpus
from pytorch_variants.cli.output import console, follow_progress, megabytes, print_json

if TYPE_CHECKING:
    from pytorch_variants.index import Listed


def to_json(directory: Path, listed: Sequence["Listed"]) -> dict[str, Any]:
    """What was asked for, for machines: the catalogue's rows, and which of them are new."""
    wheels = [{**asdict(one.wheel), "made": one.made} for one in listed]
    return {"schema": 1, "directory": str(directory), "wheels": wheels}


def print_listed(directory: Path, listed: Sequence["Listed"]) -> None:
    """Show it as a table, and how to install from there."""
    from rich.table import Table

    from pytorch_variants.index.variant import VARIANTS, label

    table = Table(title=f"{directory}/", title_justify="left")
    table.add_column("package")
    table.add_column("GPU")
    for name in ("official", "variant", "for pip"):
        table.add_column(name, justify="right")
    table.add_column("")
    for one in listed:
        wheel = one.wheel
        table.add_row(
            f"{wheel.package} {wheel.version}",
            label(wheel.gpu),
            *(megabytes(size) for size in (wheel.source_size, wheel.variant.size, wheel.plain.size)),
            "made" if one.made else "was there",
        )
    output = console()
    output.print(table)
    wheel = listed[-1].wheel
    what = f"{wheel.package}=={wheel.version}"
    for line in (
        f"python3 -m http.server --directory {directory}    # or any other web server; with that one:",
        f"uv pip install {what} --preview-features wheel-variants --index http://127.0.0.1:8000/{VARIANTS}/",
        f"pip install {what} --extra-index-url http://127.0.0.1:8000/{label(wheel.gpu)}/",
    ):
        output.print(f"    {line}", markup=False, highlight=False, soft_wrap=True)


@command
@argument("directory", metavar="DIR", type=PATH, help="The index; it is made, or what is missing is added.")
@argument(
    "what",
    metavar="WHAT...",
    nargs=-1,
    required=True,
    help="Official wheels: paths, or requirements (torch==2.10.0), which pip fetches.",
)
@gpus("A GPU to make a wheel for, in any spelling: h100, sm90", required=True)
@click.option(
    "--compatible", is_flag=True, help="For a GPU without code, take what runs on it: sm_86 on 8.9."
)
@click.option("--python", multiple=True, help="Fetch for this Python, as 3.12; may be repeated.")
@click.option(
    "--platform", multiple=True, help="Fetch for this platform, by a tag of pip's; may be repeated."
)
@as_json
def index(
    directory: Path,
    what: Sequence[str],
    gpu: Sequence[str],
    compatible: bool,
    python: Sequence[str],
    platform: Sequence[str],
    json: bool,
) -> None:
    """Make an index of single-GPU wheels from official ones, which uv and pip install from by any web server.

    Example: pytorch-variants index wheels torch==2.10.0 --gpu a100,h100
    """
    from pytorch_variants.hardware.spelling import parse_gpu
    from pytorch_variants.index import build_index

    with follow_progress() as follow:
        listed = build_index(
            directory,
            what,
            [parse_gpu(name).number for name in gpu],
            compatible=compatible,
            pythons=python,
            platforms=platform,
            follow=follow,
        )
    if json:
        print_json(to_json(directory, listed))
    else:
        print_listed(directory, listed)
