"""The command `plan`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pytorch_variants.options import HERE, Flake, Json
from pytorch_variants.output import console, print_json

if TYPE_CHECKING:
    from pytorch_variants.plan import Plan

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


def plan(
    variant: Annotated[str, typer.Argument(help="A variant, as in pytorch-sm90-avx512.")],
    nixpkgs: Annotated[
        str, typer.Option(metavar="locked|embedded|PATH", help="The package set to build it from.")
    ] = "locked",
    flake: Flake = HERE,
    json: Json = False,
) -> None:
    """Show what a build will take before it starts: what is built and fetched, memory, time, disk.

    Nix asks its binary caches if there is a network; it does without. Exit code 1: something has taken the
    build off the cache of nixpkgs' own builds, or the disk is too small.

    Example: pytorch-variants plan pytorch-sm90-avx512 --nixpkgs embedded
    """
    from pytorch_variants.plan import plan as ask

    found = ask(variant, nixpkgs, flake)
    if json:
        print_json({**asdict(found), "warnings": found.warnings})
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
        raise typer.Exit(1)
