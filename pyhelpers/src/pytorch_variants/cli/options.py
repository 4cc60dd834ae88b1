"""Options that several commands have."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pytorch_variants.cli.frame import PATH

if TYPE_CHECKING:
    from pytorch_variants.hardware.table import Gpu


def complete_what(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
    """What a shell offers for a GPU or an instruction set."""
    from pytorch_variants.hardware.table import (
        cpus,
        gpus,
        products,
    )

    names = [*gpus(), *cpus(), *products()]
    return [name for name in names if name.lower().startswith(incomplete.lower())]


def parse_gpus(texts: Sequence[str]) -> list["Gpu"]:
    """GPUs in any spelling, of an option that may be repeated or have several with commas between."""
    from pytorch_variants.hardware.spelling import parse_gpu

    return [parse_gpu(name.strip()) for text in texts for name in text.split(",")]


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
gpu_filter = click.option(
    "--gpu",
    multiple=True,
    shell_complete=complete_what,
    help="A GPU in any spelling, or cpu for none; may be repeated.",
)
cpu_filter = click.option(
    "--cpu", multiple=True, shell_complete=complete_what, help="An instruction set; may be repeated."
)
cuda_filter = click.option("--cuda", help="A CUDA release that has to target the GPU.")
