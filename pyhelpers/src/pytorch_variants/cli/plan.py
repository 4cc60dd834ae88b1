"""The command `plan`."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytorch_variants.cli.frame import argument, command
from pytorch_variants.cli.options import (
    as_json,
    cpu_filter,
    cuda_filter,
    flake,
    gpu_filter,
    nixpkgs,
    system_filter,
)
from pytorch_variants.cli.output import (
    console,
    print_json,
)
from pytorch_variants.errors import UserError

if TYPE_CHECKING:
    from pytorch_variants.cost.variant import Plan
    from pytorch_variants.names.matrix import Entry

_SHOWN = 8


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _size(count: int | None) -> str:
    return "a size not known" if count is None else f"{count / 1e9:.2f} GB"


def _duration(hours: float) -> str:
    return f"about {hours:.0f} h" if hours >= 1 else f"about {hours * 60:.1f} min"


def _rows(plan: "Plan") -> list[tuple[str, str]]:
    caches = ", ".join(plan.caches) or "none asked (substitute = false)"
    if plan.caches_to_add:
        lacking = ", ".join(plan.caches_to_add)
        caches += f"; your settings lack {lacking}: docs/flake-input.md says whose they are"
    if plan.unreachable:
        caches += "; not all could be reached, and what they have counts as to be built or downloaded"
    # Without an answer from the caches Nix counts all that they have.
    stock = len(plan.build) - len(plan.off_cache) - 1
    shared = f"; {stock} are as in nixpkgs' own builds" if plan.compiled and stock > 0 else ""
    memory = "memory not known" if plan.memory is None else f"{plan.memory:.1f} GiB of memory available"
    return [
        ("built here", f"{len(plan.build)}: {_some(plan.build)}{shared}" if plan.build else "nothing"),
        (
            "downloaded",
            f"{len(plan.download)} files, {_size(plan.download_size)}, from "
            f"{_some([f'{host} ({count})' for host, count in plan.origins.items()])}"
            if plan.download
            else "nothing",
        ),
        (
            "from binary caches",
            f"{plan.fetch} paths, {_size(plan.fetch_size)}, unpacked {_size(plan.unpacked_size)}"
            if plan.fetch
            else "nothing",
        ),
        ("binary caches", caches),
        (
            "off the cache",
            (f"{len(plan.off_cache)}: {_some(plan.off_cache)}" if plan.off_cache else "PyTorch alone")
            if plan.compiled
            else "all, as always of official wheels",
        ),
        (
            "jobs",
            f"{plan.jobs}: {plan.cores} cores, {memory}, {plan.memory_per_job} GiB per job"
            if plan.compiled
            else "nothing is compiled",
        ),
        ("time", f"{_duration(plan.hours)}; {plan.basis}" if plan.hours else plan.basis),
        ("disk", f"needed: {_size(plan.disk_needed)}; free: {_size(plan.disk_free)}"),
    ]


def _one(variant: str, nixpkgs: str, flake: Path, json: bool) -> None:
    from pytorch_variants.cost.variant import plan as ask

    found = ask(variant, nixpkgs, flake)
    if json:
        print_json({"schema": 1, **asdict(found), "warnings": found.warnings})
    else:
        from rich.table import Table
        from rich.text import Text

        table = Table("", found.package_set, title=Text(found.variant), title_justify="left")
        for name, value in _rows(found):
            table.add_row(name, Text(value, overflow="fold"))
        console().print(table)
        for warning in found.warnings:
            console().print("[bold red]warning[/]:", Text(warning))
    if found.warnings:
        raise click.exceptions.Exit(1)


def _all(found: Sequence["Entry"], builders: int, cores: int, json: bool) -> None:
    from pytorch_variants.cost.matrix import (
        BASIS,
        matrix_cost,
    )

    single, shared = matrix_cost(found, builders, cores)
    if json:
        counts = {"variants": len(found), "builders": builders, "cores": cores}
        print_json(
            {"schema": 1, **counts, "single": asdict(single), "shared": asdict(shared), "basis": BASIS}
        )
        return
    from rich.table import Table
    from rich.text import Text

    machines = f"{builders} builder{'s' * (builders > 1)} of {cores} core{'s' * (cores > 1)}"
    table = Table("", title=Text(f"{len(found)} variants"), title_justify="left")
    for title in ("core-hours", machines, "of single builds"):
        table.add_column(title, justify="right")
    for name, cost in (("each for itself", single), ("with a compiler cache on every builder", shared)):
        share = f"{cost.core_hours / single.core_hours:.1%}"
        table.add_row(name, f"{cost.core_hours:.1f}", _duration(cost.hours), share)
    console().print(table)
    console().print(Text(BASIS), soft_wrap=True)


@command
@argument("variant", required=False, help="A variant, as in pytorch-sm90-avx512.")
@nixpkgs
@flake
@click.option("--matrix", is_flag=True, help="All variants, or those of the filters, instead of one.")
@click.option(
    "--builders", type=click.IntRange(min=1), default=1, show_default=True, help="Machines, of each system."
)
@click.option("--cores", type=click.IntRange(min=1), help="Cores of each; if not given, this one's.")
@system_filter
@gpu_filter
@cpu_filter
@cuda_filter
@click.option("--begin", is_flag=True, help="Begin it: is there room on the disk, and a network?")
@as_json
def plan(
    variant: str | None,
    nixpkgs: str,
    flake: Path,
    matrix: bool,
    builders: int,
    cores: int | None,
    system: Sequence[str],
    gpu: Sequence[str],
    cpu: Sequence[str],
    cuda: str | None,
    begin: bool,
    json: bool,
) -> None:
    """Show what a build will take before it starts: what is built and fetched, memory, time, disk.

    Exit code 1: something has taken the build off the cache of nixpkgs' own builds, or the disk is too
    small. Nix asks its binary caches if there is a network; it does without.

    With --begin, for official wheels: fetch the smallest of them, so that a disk that is too small and a
    package registry that cannot be reached are one line before gigabytes are fetched.

    With --matrix: what compiling many variants from source takes on your builders, each for itself and
    with a compiler cache. Nix is not asked.

    Example: pytorch-variants plan pytorch-sm90-avx512 --nixpkgs embedded

    Example: pytorch-variants plan --matrix --system x86_64-linux --builders 4 --cores 32
    """
    if matrix and variant:
        raise UserError(f"{variant}: leave out --matrix for this one, or write --gpu and --cpu with it")
    if matrix:
        from pytorch_variants.machine.cores import usable_cores
        from pytorch_variants.names.matrix import entries

        found = entries(system, gpu, cpu, cuda)
        _all(found, builders, cores or usable_cores(), json)
    elif system or gpu or cpu or cuda:
        raise UserError("--system, --gpu, --cpu and --cuda choose from the matrix: write --matrix with them")
    elif variant is None:
        raise UserError("no variant: write its name, or --matrix for all of them")
    elif begin:
        from pytorch_variants.cost.variant import begin as fetch_the_smallest

        if size := fetch_the_smallest(variant, nixpkgs, flake):
            click.echo(f"to fetch: {_size(size)} of wheels")
    else:
        _one(variant, nixpkgs, flake, json)
