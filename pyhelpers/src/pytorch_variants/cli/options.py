"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer


def complete_what(incomplete: str) -> list[str]:
    """What a shell offers for a GPU or an instruction set."""
    from pytorch_variants.hardware.table import (
        cpus,
        gpus,
        products,
    )

    names = [*gpus(), *cpus(), *products()]
    return [name for name in names if name.lower().startswith(incomplete.lower())]


Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Flake = Annotated[Path, typer.Option("--flake", metavar="DIR", help="The flake's directory.")]
Nixpkgs = Annotated[
    str, typer.Option(metavar="locked|embedded|PATH", help="The package set to build it from.")
]

# Which variants of the matrix, for pytorch_variants.names.matrix.entries.
SystemFilter = Annotated[list[str] | None, typer.Option("--system", help="x86_64-linux or aarch64-linux.")]
GpuFilter = Annotated[
    list[str] | None,
    typer.Option("--gpu", help="A GPU in any spelling, or cpu for none.", autocompletion=complete_what),
]
CpuFilter = Annotated[
    list[str] | None, typer.Option("--cpu", help="An instruction set.", autocompletion=complete_what)
]
CudaFilter = Annotated[str | None, typer.Option("--cuda", help="A CUDA release that has to target the GPU.")]

HERE = Path()
