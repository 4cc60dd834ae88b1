"""The commands `lock show`, `lock update` and `lock check`."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pytorch_variants.cli.frame import PATH, Commands, argument, command
from pytorch_variants.cli.options import as_json, flake
from pytorch_variants.cli.output import (
    console,
    print_json,
)

lock = Commands(
    {"show": "lock:show", "update": "lock:update", "check": "lock:check"},
    help="The pins of a flake: what they give, others, and whether they hold.",
)

_require = click.option(
    "--require",
    multiple=True,
    metavar="NAME VERSIONS",
    help="As in 'torch>=2.9,<3', cuda or python; may be repeated.",
)
_nixpkgs = click.option(
    "--nixpkgs",
    type=PATH,
    metavar="PATH",
    help="Read the versions of the input nixpkgs from here, not from the store.",
)


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table whose texts are shown as they are: a lock file is not to be read as rich's markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, title=Text(title), title_justify="left")
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell, str) else cell for cell in row))
    console().print(table)


def _date(seconds: int | None) -> str:
    if seconds is None:
        return ""
    date = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return f"{date:%Y-%m-%d}, {(datetime.datetime.now(datetime.UTC) - date).days} days old"


@command
@flake
@_nixpkgs
@as_json
def show(flake: Path, nixpkgs: Path | None, json: bool) -> None:
    """Show the pins, their age, and the torch, CUDA and Python versions that they give.

    The versions are those that Nix finds in the pinned tree, if that is in the store.

    Example: pytorch-variants lock show
    """
    from pytorch_variants.pins import flake_lock, wheels
    from pytorch_variants.pins.update import EMBEDDED, read_pins, read_wheel_pins, wheels_file

    pins = read_pins(flake_lock.read(flake), nixpkgs)
    file = wheels_file(flake)
    embedded = read_wheel_pins(wheels.read(file)) if file.exists() else None
    if json:
        inputs = [asdict(pin) for pin in pins]
        print_json({"schema": 1, "inputs": inputs, "embedded": embedded and list(map(asdict, embedded))})
        return
    for pin in pins:
        versions = asdict(pin.versions).items() if pin.versions else ()
        _table(
            f"{pin.name}, {pin.reference}",
            ("pin", "value"),
            [
                ("revision", pin.rev or "none"),
                ("last modified", _date(pin.last_modified)),
                ("narHash", pin.nar_hash or "none"),
                *((name, version or "none") for name, version in versions),
                *([] if versions else [("torch, CUDA, Python", f"unknown: {pin.note}")]),
            ],
        )
    if embedded:
        _table(
            f"{EMBEDDED}, {file}",
            ("system", "Python", "torch", "CUDA", "files", "size"),
            [
                (one.system, python, one.torch, one.cuda, str(count), f"{size / 1e9:.2f} GB")
                for one in embedded
                for python, count, size in zip(one.pythons, one.files, one.sizes, strict=True)
            ],
        )


@command
@argument(
    "name",
    metavar="[INPUT]",
    required=False,
    help="An input, or embedded; left out, the only input there is.",
)
@click.option("--to", metavar="REV|BRANCH", help="Not the newest of what flake.nix follows, but this.")
@_require
@click.option("--allow-downgrade", is_flag=True, help="Let torch, CUDA or Python become older.")
@flake
@as_json
def update(
    name: str | None,
    to: str | None,
    require: Sequence[str],
    allow_downgrade: bool,
    flake: Path,
    json: bool,
) -> None:
    """Pin another revision of an input, or other wheels of the embedded set. Needs the network.

    Nothing is written, and the exit code is 1, if torch, CUDA or Python would become older or something
    that is required would not be met.

    Example: pytorch-variants lock update nixpkgs --require 'torch>=2.9,<3' --require 'cuda>=12.8'
    """
    from pytorch_variants.errors import UserError
    from pytorch_variants.pins import flake_lock
    from pytorch_variants.pins.update import EMBEDDED, prepare, prepare_wheels, wheels_file
    from pytorch_variants.pins.versions import parse_requirement

    requirements = [parse_requirement(text) for text in require]
    if name == EMBEDDED:
        if to is not None:
            raise UserError('--to is for inputs: the embedded set follows "requirements" in wheels.json')
        change = prepare_wheels(wheels_file(flake), requirements, allow_downgrade)
    else:
        file = flake_lock.read(flake)
        change = prepare(file, _only_input(file) if name is None else name, to, requirements, allow_downgrade)
    if not change.objections and change.changes:
        change.apply()
    if json:
        print_json(
            {
                "schema": 1,
                "what": change.what,
                "rows": [dict(zip(("name", "before", "after"), row, strict=True)) for row in change.rows],
                "objections": change.objections,
                "written": change.changes and not change.objections,
            }
        )
    else:
        from rich.text import Text

        _table(
            change.what,
            ("", "before", "after"),
            ((name, before, after if before != after else "same") for name, before, after in change.rows),
        )
        for objection in change.objections:
            console().print("[bold red]not updated[/]:", Text(objection))
        if not change.objections:
            console().print("[green]updated[/]" if change.changes else "up to date: nothing to write")
    if change.objections:
        raise click.exceptions.Exit(1)


def _only_input(file: Any) -> str:
    from pytorch_variants.errors import UserError

    names = list(file.own())
    if len(names) != 1:
        raise UserError(
            f"{file.path} has several inputs: write one of {', '.join(names)}"
            if names
            else f"{file.path}: no inputs"
        )
    return str(names[0])


@command
@flake
@_require
@_nixpkgs
@as_json
def check(flake: Path, require: Sequence[str], nixpkgs: Path | None, json: bool) -> None:
    """Check flake.lock against flake.nix, its hashes, the embedded set's pins and what is required.

    Exit code 0: all holds; 1: something does not, and the table says what; 2: it could not be checked.

    Example: pytorch-variants lock check --require 'cuda>=12.8'
    """
    from pytorch_variants.pins import check as checks
    from pytorch_variants.pins import flake_lock, wheels
    from pytorch_variants.pins.update import wheels_file
    from pytorch_variants.pins.versions import parse_requirement

    requirements = [parse_requirement(text) for text in require]
    findings = checks.check(flake_lock.read(flake), requirements, nixpkgs)
    file = wheels_file(flake)
    if file.exists():
        findings += checks.check_wheels(wheels.read(file))
    passed = all(finding.status == "ok" for finding in findings)
    if json:
        print_json({"schema": 1, "findings": [asdict(finding) for finding in findings], "passed": passed})
    else:
        from rich.text import Text

        marks = {"ok": Text("✓", "green"), "wrong": Text("✗", "bold red")}
        _table(
            str(flake / "flake.lock"),
            ("", "of", "check", "expected", "found"),
            (
                (marks[row.status], row.where, row.check, row.expected_text, row.found_text)
                for row in findings
            ),
        )
    if not passed:
        raise click.exceptions.Exit(1)
