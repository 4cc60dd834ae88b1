"""The command `inspect`, and its tables."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytorch_variants.cli.frame import PATH, argument, command
from pytorch_variants.cli.options import as_json, gpus
from pytorch_variants.cli.output import console, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from pytorch_variants.hardware.table import Gpu
    from pytorch_variants.verify.inspect import Answer, Inspection

HERE_GPU = "here"


def _sentence(answer: "Answer") -> str:
    """What a GPU does with some code, for people."""
    of = f"{answer.lacking} of {answer.containers} containers"
    return {
        "runs": "runs",
        "compiles": f"runs, once the driver has compiled the PTX of {of}",
        "part": f"no kernel image is available for {of}",
        "fails": f"no kernel image is available for any of {answer.containers} containers",
        "none": "no GPU code",
    }[answer.verdict]


def _mark(answer: "Answer") -> str:
    """The same in a word, for a column."""
    return {
        "runs": "runs",
        "compiles": "from PTX",
        "part": f"{answer.lacking} of {answer.containers} fail",
        "fails": "fails",
        "none": "",
    }[answer.verdict]


def _short(names: Sequence[str]) -> tuple[str, ...]:
    """As "sm_70 75 80 90a": the prefix once."""
    return (*names[:1], *(name.partition("_")[2] for name in names[1:]))


def print_inspection(found: "Inspection", console: "Console") -> None:
    """Show what was found in one path as a table, and the answers."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=str(found.path), title_justify="left")
    cpu = any(row.cpu for row in found.libraries)
    table.add_column("library", overflow="fold", ratio=3)
    table.add_column("MB", justify="right", no_wrap=True)
    table.add_column("GPU code", overflow="fold", ratio=2)
    if not found.asked:
        table.add_column("GPUs", overflow="fold", ratio=2)
    if cpu:
        table.add_column("CPU", overflow="fold", ratio=1)
    for answer in found.asked:
        table.add_column(answer.gpu)
    plain = 0
    for row in found.libraries:
        if not (row.containers or row.other or row.problem or row.cpu):
            plain += 1
            continue
        name = f"{row.path} ({row.files} cubins)" if row.files > 1 else row.path
        notes = [f"{row.owner}'s"] if row.owner else []
        notes += [row.problem] if row.problem else []
        texts = [f"{name}\n  {'; '.join(notes)}" if notes else name, f"{row.size / 1e6:.1f}"]
        texts.append(" ".join((*_short(row.architectures), *row.ptx)))
        if not found.asked:
            texts.append(" ".join(row.gpus))
        if cpu:
            texts.append(" ".join(row.cpu))
        texts += [_mark(answer) for answer in row.asked]
        bad = row.problem or any(a.verdict in ("part", "fails") for a in row.asked)
        table.add_row(*(Text(text, style="red" if bad else "") for text in texts))
    console.print(table)
    if plain:
        console.print(f"and {plain} without GPU code, for any CPU of their machine")
    if any(row.containers and not row.owner for row in found.libraries):
        console.print(f"GPUs that run all of it: {' '.join(found.gpus) or 'none'}")
    for answer in found.asked:
        bad = answer.verdict in ("part", "fails")
        console.print(Text(f"{answer.gpu}: {_sentence(answer)}", style="red" if bad else ""))


def _gpus(texts: Sequence[str]) -> "list[Gpu]":
    from pytorch_variants.errors import UserError
    from pytorch_variants.hardware.spelling import parse_gpu
    from pytorch_variants.machine.detect import find_gpus

    found = []
    for text in texts:
        if text.lower() != HERE_GPU:
            found.append(parse_gpu(text))
            continue
        here = find_gpus()
        if not here.gpus:
            raise UserError(f"no GPU here ({here.source}): name one, as in --gpu h100")
        found += [parse_gpu(gpu.capability or gpu.name) for gpu in here.gpus]
    return list({gpu.name: gpu for gpu in found}.values())


@command
@argument(
    "paths",
    metavar="PATH...",
    nargs=-1,
    required=True,
    type=PATH,
    help="Wheels, libraries, packages, site-packages, environments, Nix results.",
)
@gpus('A GPU in any spelling, or "here" for this machine\'s')
@as_json
def inspect(paths: Sequence[Path], gpu: Sequence[str], json: bool) -> None:
    """Show what GPU code and CPU instructions libraries have, and which GPUs run them.

    Exit code 1: a GPU that was asked for lacks code, or a file is damaged.

    Example: pytorch-variants inspect torch-2.10.0-cp311-cp311-manylinux_2_28_x86_64.whl --gpu rtx5090
    """
    from dataclasses import asdict

    from pytorch_variants.verify.inspect import SCHEMA, inspect_path

    asked = _gpus(gpu)
    found = []
    for path in paths:
        inspection = inspect_path(path, asked)
        found.append(inspection)
        if not json:
            print_inspection(inspection, console())
    if json:
        inspected = [{**asdict(item), "path": str(item.path), "failing": item.failing} for item in found]
        print_json({"schema": SCHEMA, "inspected": inspected})
    raise click.exceptions.Exit(1 if any(inspection.failing for inspection in found) else 0)
