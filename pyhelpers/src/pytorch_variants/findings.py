"""A report: rows of what was expected, found and where, as JSON or JUnit XML; cli/verify.py has its table."""

import json
import re
from dataclasses import asdict, dataclass
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, indent, tostring

SCHEMA_VERSION = 1

# The origin of a build that is asked for everything; any other is named in the report.
COMPILED = "compiled from source"


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


# What XML 1.0 has no place for; names in damaged files have all of it.
_NOT_XML = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def to_junit(report: Report) -> str:
    """The report for CI servers: a test case per row, notes as its output."""
    wrong = sum(row.status == "wrong" for row in report.findings)
    suite = Element(
        "testsuite", name=report.variant, tests=str(len(report.findings)), failures=str(wrong), errors="0"
    )
    SubElement(SubElement(suite, "properties"), "property", name="origin", value=_xml(report.origin))
    for row in report.findings:
        name = _xml(f"{row.check}: {row.where}" if row.where else row.check)
        case = SubElement(suite, "testcase", classname=report.variant, name=name)
        message = _xml(f"expected {row.expected}, found {row.found}")
        if row.status == "wrong":
            SubElement(case, "failure", message=message).text = f"{message}\n{_xml(row.where)}"
        elif row.status == "note":
            SubElement(case, "system-out").text = _xml(row.found)
    indent(suite)
    return tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
