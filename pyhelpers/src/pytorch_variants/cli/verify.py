"""The command `verify`, and the table of its report."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pytorch_variants.cli.frame import PATH, argument, command
from pytorch_variants.cli.options import as_json
from pytorch_variants.cli.output import console
from pytorch_variants.findings import (
    Origin,
    Report,
    parse_origin,
    parse_policy,
    to_json,
    to_junit,
)

if TYPE_CHECKING:
    from rich.console import Console


_MARKS = {"ok": "[green]✓[/]", "wrong": "[bold red]✗[/]", "note": "[yellow]•[/]"}


def print_table(report: Report, console: "Console") -> None:
    """The report for people, what is wrong last: of a log Nix shows the end."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=report.variant, caption=report.origin.sentence, title_justify="left", expand=False)
    table.add_column("")
    for title in ("check", "expected", "found", "where"):
        table.add_column(title, overflow="fold")
    for row in sorted(report.findings, key=lambda row: row.status == "wrong"):
        texts = (Text(text) for text in (row.check, row.expected_text, row.found_text, row.where))
        table.add_row(_MARKS[row.status], *texts)
    console.print(table)
    wrong = sum(row.status == "wrong" for row in report.findings)
    if report.passed:
        let_pass = [*report.policy.allow]
        if report.policy.strictness != "error":
            let_pass.append(f"strictness {report.policy.strictness}")
        but = f", but for what was let pass: {', '.join(let_pass)}" if let_pass else ""
        console.print(f"[green]verified[/]: {report.variant} is what its name says{but}")
    else:
        console.print(f"[bold red]wrong[/]: {wrong} of {len(report.findings)} findings")


def write(report: Report, directory: Path) -> None:
    """The report in all its forms: report.json, report.txt and report.xml."""
    from rich.console import Console

    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.json").write_text(to_json(report) + "\n", encoding="utf-8")
    (directory / "report.xml").write_text(to_junit(report), encoding="utf-8")
    with (directory / "report.txt").open("w", encoding="utf-8") as file:
        print_table(report, Console(file=file, width=130))


@command
@argument("environment", type=PATH, help="A directory with bin/python, as in result.")
@click.option("--variant", required=True, help="The variant that it should be.")
@click.option(
    "--origin",
    help="How it was made: source, or wheel for what PyTorch publishes.  [default: what the name says]",
)
@click.option(
    "--allow",
    default="",
    help="What the GPU code may be other than the name says: ptx, extra (architectures), missing; "
    "of some libraries alone: extra:nccl. Several with commas.",
)
@click.option(
    "--strictness",
    default="error",
    show_default=True,
    help="What becomes of GPU code that is not as the name says: error, note, ignore.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=1),
    default=90.0,
    show_default=True,
    help="Seconds that one import may take in the environment's Python, before it counts as hanging.",
)
@click.option("--runtime", is_flag=True, help="Compute on this machine's GPU, instead of reading the files.")
@as_json
@click.option("--junit", type=PATH, help="Also write the report as JUnit XML.")
@click.option("--output", type=PATH, help="Also write report.json, .txt and .xml into this directory.")
def verify(
    environment: Path,
    variant: str,
    origin: str | None,
    allow: str,
    strictness: str,
    patience: float,
    runtime: bool,
    json: bool,
    junit: Path | None,
    output: Path | None,
) -> None:
    """Check that a build is what its name says: its files without a GPU, or with --runtime its results.

    Example: pytorch-variants verify result --variant pytorch-sm90-avx512
    """
    from pytorch_variants.names.variant import parse_name
    from pytorch_variants.verify.runtime import verify_runtime
    from pytorch_variants.verify.static import verify as verify_files

    wanted = parse_name(variant)
    by_name = Origin.WHEEL if wanted.kind == "wheel" else Origin.SOURCE
    made = parse_origin(origin) if origin else by_name
    policy = parse_policy(allow, strictness)
    if runtime:
        report = verify_runtime(environment, wanted, made)
    else:
        report = verify_files(environment, wanted, made, policy, patience)
    if junit:
        junit.write_text(to_junit(report), encoding="utf-8")
    if output:
        write(report, output)
    if json:
        print(to_json(report))
    else:
        print_table(report, console())
    raise click.exceptions.Exit(0 if report.passed else 1)
