"""The command `retarget`, and the table of what it did."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytorch_variants.cli.frame import PATH, argument, command
from pytorch_variants.cli.options import as_json, gpus
from pytorch_variants.cli.output import console, follow_progress, megabytes

if TYPE_CHECKING:
    from rich.console import Console

    from pytorch_variants.retarget import Account


def to_json(accounts: Sequence["Account"]) -> str:
    """The accounts, for machines."""
    return json.dumps({"schema": 1, "retargeted": [asdict(account) for account in accounts]}, default=str)


def print_account(account: "Account", console: "Console") -> None:
    """Show an account as a table."""
    from rich.table import Table

    from pytorch_variants.retarget import WHY_UNTOUCHED

    table = Table(title=str(account.result), title_justify="left", show_footer=True)
    table.add_column("library", "in all")
    table.add_column("before", megabytes(account.before), justify="right")
    table.add_column("after", megabytes(account.after), justify="right")
    table.add_column("kept", f"in {account.seconds:.1f} s")
    table.add_column("dropped")
    for library in account.libraries:
        table.add_row(
            library.path.name,
            megabytes(library.before),
            megabytes(library.after),
            " ".join(library.kept) or "nothing",
            " ".join(library.dropped),
        )
    console.print(table)
    if account.untouched:
        count = len(account.untouched)
        names = ", ".join(sorted({Path(name).name for name in account.untouched})[:3])
        console.print(
            f"left as they are, {count} of NVIDIA's ({names}{', …' if count > 3 else ''}): {WHY_UNTOUCHED}"
        )


@command
@argument(
    "inputs",
    metavar="INPUT...",
    nargs=-1,
    required=True,
    type=PATH,
    help="Wheels, installed packages or environments, libraries.",
)
@gpus("A GPU to keep, in any spelling: h100, sm90", required=True)
@click.option("--keep-ptx", is_flag=True, help="Keep the PTX of these GPUs.")
@click.option(
    "--compatible", is_flag=True, help="For a GPU without code, keep what runs on it: sm_86 on 8.9, or PTX."
)
@click.option("--output", "-o", type=PATH, help="The directory of new files; else the current one.")
@click.option("--in-place", is_flag=True, help="Change the files themselves.")
@as_json
def retarget(
    inputs: Sequence[Path],
    gpu: Sequence[str],
    keep_ptx: bool,
    compatible: bool,
    output: Path | None,
    in_place: bool,
    json: bool,
) -> None:
    """Cut the GPU code of PyTorch's own libraries down to some architectures, and the files with it.

    Example: pytorch-variants retarget torch-2.10.0-cp311-cp311-manylinux_2_28_x86_64.whl --gpu h100
    """
    from pytorch_variants.hardware.spelling import parse_gpu
    from pytorch_variants.retarget import RetargetOptions, retarget_path

    wanted = [parse_gpu(name) for name in gpu]
    options = RetargetOptions(
        wanted=tuple(one.number for one in wanted),
        keep_ptx=keep_ptx or any(one.target.endswith("+PTX") for one in wanted),
        compatible=compatible,
        in_place=in_place,
        output=output,
    )

    accounts = []
    with follow_progress() as follow:
        for path in inputs:
            account = retarget_path(path, options, follow(path.name))
            accounts.append(account)
            if not json:
                print_account(account, console())
    if json:
        print(to_json(accounts))
