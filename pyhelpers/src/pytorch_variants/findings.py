"""A report: rows of what was expected, found and where, as JSON or JUnit XML; cli/verify.py has its table."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from pytorch_variants.errors import UserError

SCHEMA_VERSION = 2

Status = Literal["ok", "wrong", "note"]
# What may be let pass: see Policy.
Kind = Literal["", "ptx", "extra", "missing"]
KINDS: tuple[Kind, ...] = ("ptx", "extra", "missing")
Strictness = Literal["error", "note", "ignore"]
# Of a list in a table.
_SHOWN = 6
STRICTNESSES: tuple[Strictness, ...] = ("error", "note", "ignore")


class Origin(StrEnum):
    """How a build was made. One from source is asked for everything that its name says."""

    SOURCE = "source"
    WHEEL = "wheel"

    @property
    def sentence(self) -> str:
        """For people."""
        if self is Origin.SOURCE:
            return "compiled from source"
        return "official wheel; CPU flags not applied (the wheel dispatches at run time)"


def parse_origin(text: str) -> Origin:
    """An origin, also as it was written before there were two words for it. Raises UserError."""
    for origin, start in ((Origin.SOURCE, "compiled from source"), (Origin.WHEEL, "official wheel")):
        if text == origin or text.startswith(start):
            return origin
    raise UserError(f"origin {text!r} is none: write {' or '.join(Origin)}")


@dataclass(frozen=True)
class Finding:
    """One row. `status`: "ok", "wrong" (the build is not what its name says) or "note" (information).

    `expected` and `found` are lists of the same things: architectures, versions, names. `where` is the
    place, `detail` whatever else there is to say in words. `kind` and `subject` are for a Policy: what of
    the GPU code is not as its name says, and in which library.
    """

    status: Status
    check: str
    expected: tuple[str, ...]
    found: tuple[str, ...]
    where: str = ""
    detail: str = ""
    kind: Kind = ""
    subject: str = ""

    def _shown(self, texts: tuple[str, ...]) -> str:
        # What is wrong is named in full.
        more = 0 if self.status == "wrong" else max(len(texts) - _SHOWN, 0)
        return " ".join(texts[: len(texts) - more]) + f" and {more} more" * bool(more)

    @property
    def expected_text(self) -> str:
        """What was expected, as a table has it: of a long list, the first."""
        return self._shown(self.expected)

    @property
    def found_text(self) -> str:
        """What was found, as a table has it: of a long list, the first."""
        return ": ".join(text for text in (self._shown(self.found), self.detail) if text)


Texts = str | Iterable[str]


def _tuple(texts: Texts) -> tuple[str, ...]:
    return ((texts,) if texts else ()) if isinstance(texts, str) else tuple(texts)


def ok(check: str, expected: Texts, found: Texts, where: str = "", detail: str = "") -> Finding:
    """A row about what is as it should be. A text stands for a list of one."""
    return Finding("ok", check, _tuple(expected), _tuple(found), where, detail)


def note(check: str, expected: Texts, found: Texts, where: str = "", detail: str = "") -> Finding:
    """A row for information."""
    return Finding("note", check, _tuple(expected), _tuple(found), where, detail)


def wrong(
    check: str,
    expected: Texts,
    found: Texts,
    where: str = "",
    detail: str = "",
    *,
    kind: Kind = "",
    subject: str = "",
) -> Finding:
    """A row about what the build is not, or should not be."""
    return Finding("wrong", check, _tuple(expected), _tuple(found), where, detail, kind, subject)


def expect(check: str, expected: Texts, found: Texts, where: str = "", detail: str = "") -> Finding:
    """A row that is ok if both sides are equal."""
    row = ok if _tuple(expected) == _tuple(found) else wrong
    return row(check, expected, found, where, detail)


@dataclass(frozen=True)
class Policy:
    """What of the GPU code may be other than the name says.

    `allow` has kinds, of any library or of those with a word in their names: "ptx", "extra:nccl". What it
    names becomes a note. `strictness` is what becomes of the rest: an error (a wrong row), a note, or no
    row at all.
    """

    allow: tuple[str, ...] = ()
    strictness: Strictness = "error"

    def _allows(self, finding: Finding) -> bool:
        for item in self.allow:
            kind, _, word = item.partition(":")
            if kind == finding.kind and word.lower() in finding.subject.lower():
                return True
        return False

    def apply(self, findings: Iterable[Finding]) -> Iterator[Finding]:
        """The findings, those that it lets pass as notes or not at all."""
        for finding in findings:
            if finding.status != "wrong" or not finding.kind:
                yield finding
            elif self._allows(finding):
                yield replace(finding, status="note", detail=_joined(finding.detail, "allowed"))
            elif self.strictness == "error":
                yield finding
            elif self.strictness == "note":
                yield replace(finding, status="note")


def _joined(*texts: str) -> str:
    return ", ".join(text for text in texts if text)


def parse_policy(allow: str, strictness: str) -> Policy:
    """A policy as the command line has it, "ptx,extra:nccl" and "error". Raises UserError."""
    items = tuple(item.strip() for item in allow.split(",") if item.strip())
    for item in items:
        if item.partition(":")[0] not in KINDS:
            raise UserError(
                f"{item!r} is nothing to allow: write {', '.join(KINDS[:-1])} or {KINDS[-1]}, "
                "each also of some libraries alone, as in extra:nccl"
            )
    for known in STRICTNESSES:
        if strictness == known:
            return Policy(items, known)
    raise UserError(f"{strictness!r} is no strictness: write {', '.join(STRICTNESSES[:-1])} or ignore")


@dataclass(frozen=True)
class Report:
    """All rows about one build of one variant."""

    variant: str
    origin: Origin
    findings: tuple[Finding, ...]
    policy: Policy = field(default=Policy())

    @property
    def passed(self) -> bool:
        """Whether no row is wrong. A report without rows proves nothing and does not pass."""
        return bool(self.findings) and all(finding.status != "wrong" for finding in self.findings)


def to_json(report: Report) -> str:
    """The report for machines; "schema" changes whenever a field changes its meaning."""
    data = {
        "schema": SCHEMA_VERSION,
        "variant": report.variant,
        "origin": report.origin,
        **asdict(report.policy),
        "findings": [asdict(finding) for finding in report.findings],
        "passed": report.passed,
    }
    return json.dumps(data, indent=2)


def _finding(data: dict[str, Any]) -> Finding:
    return Finding(**{**data, "expected": tuple(data["expected"]), "found": tuple(data["found"])})


def from_json(text: str) -> Report:
    """The report that `to_json` wrote."""
    data = json.loads(text)
    return Report(
        variant=data["variant"],
        origin=Origin(data["origin"]),
        findings=tuple(_finding(row) for row in data["findings"]),
        policy=Policy(tuple(data["allow"]), data["strictness"]),
    )


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
    properties = SubElement(suite, "properties")
    for name, value in (
        ("origin", report.origin),
        ("allow", ",".join(report.policy.allow)),
        ("strictness", report.policy.strictness),
    ):
        SubElement(properties, "property", name=name, value=_xml(value))
    for row in report.findings:
        name = _xml(f"{row.check}: {row.where}" if row.where else row.check)
        case = SubElement(suite, "testcase", classname=report.variant, name=name)
        message = _xml(f"expected {row.expected_text}, found {row.found_text}")
        if row.status == "wrong":
            SubElement(case, "failure", message=message).text = f"{message}\n{_xml(row.where)}"
        elif row.status == "note":
            SubElement(case, "system-out").text = _xml(row.found_text)
    indent(suite)
    return tostring(suite, encoding="unicode", xml_declaration=True) + "\n"
