"""Options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from pytorch_variants.cli.frame import PATH, Function


def complete_what(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """What a shell offers for a GPU or an instruction set."""
    from pytorch_variants.hardware.table import (
        cpus,
        gpus,
        products,
    )

    names = [*gpus(), *cpus(), *products()]
    return [name for name in names if name.lower().startswith(incomplete.lower())]


def _one_by_one(ctx: click.Context, param: click.Parameter, texts: tuple[str, ...] | None) -> tuple[str, ...]:
    return tuple(part.strip() for text in texts or () for part in text.split(","))


def gpus(help: str, required: bool = False) -> Callable[[Function], Function]:
    """The option --gpu: as many as are written, with commas between them or each with the option."""
    return click.option(
        "--gpu",
        multiple=True,
        required=required,
        callback=_one_by_one,
        shell_complete=complete_what,
        help=f"{help}; several with commas, or the option again.",
    )


as_json = click.option("--json", is_flag=True, help="Print JSON, for machines.")
flake = click.option(
    "--flake", metavar="DIR", type=PATH, default=Path(), show_default=True, help="The flake's directory."
)
nixpkgs = click.option(
    "--nixpkgs",
    metavar="locked|embedded|source|PATH",
    default="locked",
    show_default=True,
    help="The package set to build it from.",
)

# Which variants of the matrix, for pytorch_variants.names.matrix.entries.
system_filter = click.option(
    "--system", multiple=True, help="x86_64-linux or aarch64-linux; may be repeated."
)
gpu_filter = gpus("A GPU in any spelling, or cpu for none")
cpu_filter = click.option(
    "--cpu", multiple=True, shell_complete=complete_what, help="An instruction set; may be repeated."
)
cuda_filter = click.option("--cuda", help="A CUDA release that has to target the GPU.")
