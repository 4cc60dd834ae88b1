"""Options that several commands have."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]
Flake = Annotated[Path, typer.Option("--flake", metavar="DIR", help="The flake's directory.")]

HERE = Path()
