"""The verification report: rows of what was expected, what was found and where; a table or JSON."""

import json
from dataclasses import asdict, dataclass
from typing import Literal

from rich.console import Console
from rich.table import Table

SCHEMA_VERSION = 1

# The origin of a build that is asked for everything; any other is named in the report.
COMPILED = "compiled from source"

_MARKS = {"ok": "[green]✓[/]", "wrong": "[bold red]✗[/]", "note": "[yellow]•[/]"}


@dataclass(frozen=True)
class Finding:
    """One row. `status`: "ok", "wrong" (the build is not what its name says) or "note" (information)."""

    status: Literal["ok", "wrong", "note"]
    check: str
    expected: str
    found: str
    where: str = ""


@dataclass(frozen=True)
class Report:
    """All rows about one build of one variant."""

    variant: str
    origin: str
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether no row is wrong. A report without rows proves nothing and does not pass."""
        return bool(self.findings) and all(finding.status != "wrong" for finding in self.findings)


def expect(check: str, expected: object, found: object, where: str = "") -> Finding:
    """A row that is ok if both sides are equal, as texts."""
    same = str(expected) == str(found)
    return Finding("ok" if same else "wrong", check, str(expected), str(found), where)


def to_json(report: Report) -> str:
    """The report for machines; "schema" changes whenever a field changes its meaning."""
    return json.dumps({"schema": SCHEMA_VERSION, **asdict(report), "passed": report.passed}, indent=2)


def from_json(text: str) -> Report:
    """The report that `to_json` wrote."""
    data = json.loads(text)
    return Report(data["variant"], data["origin"], tuple(Finding(**row) for row in data["findings"]))


def print_table(report: Report, console: Console) -> None:
    """The report for people."""
    table = Table(title=report.variant, caption=report.origin, title_justify="left", expand=False)
    table.add_column("")
    for title in ("check", "expected", "found", "where"):
        table.add_column(title, overflow="fold")
    for row in report.findings:
        table.add_row(_MARKS[row.status], row.check, row.expected, row.found, row.where)
    console.print(table)
    wrong = sum(row.status == "wrong" for row in report.findings)
    if report.passed:
        console.print(f"[green]verified[/]: {report.variant} is what its name says")
    else:
        console.print(f"[bold red]wrong[/]: {wrong} of {len(report.findings)} findings")
