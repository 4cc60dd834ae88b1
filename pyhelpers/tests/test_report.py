import io
import json
from typing import Literal
from xml.etree.ElementTree import fromstring

import jsonschema
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pytorch_variants.cli.verify import print_table
from pytorch_variants.findings import (
    Finding,
    Report,
    expect,
    from_json,
    to_json,
    to_junit,
)

SCHEMA = json.loads((ROOT / "docs" / "verification-report.schema.json").read_text())
STATUSES: tuple[Literal["ok", "wrong", "note"], ...] = ("ok", "wrong", "note")
FINDINGS = st.builds(Finding, st.sampled_from(STATUSES), st.text(min_size=1), st.text(), st.text(), st.text())
REPORTS = st.builds(
    Report, st.just("pytorch-sm90-avx512"), st.text(min_size=1), st.lists(FINDINGS).map(tuple)
)


@given(REPORTS)
def test_json(report: Report) -> None:
    jsonschema.validate(json.loads(to_json(report)), SCHEMA)
    assert from_json(to_json(report)) == report


@given(REPORTS)
def test_junit(report: Report) -> None:
    suite = fromstring(to_junit(report).partition("\n")[2])
    wrong = sum(row.status == "wrong" for row in report.findings)
    assert int(suite.attrib["failures"]) == len(suite.findall("testcase/failure")) == wrong
    assert int(suite.attrib["tests"]) == len(suite.findall("testcase")) == len(report.findings)


@given(REPORTS)
def test_table(report: Report) -> None:
    file = io.StringIO()
    print_table(report, Console(file=file, width=200))
    assert ("verified: " in file.getvalue()) == report.passed


def test_texts_are_no_markup() -> None:
    file = io.StringIO()
    row = Finding("note", "linkage", "", "RUNPATH [/nix/store]/lib")
    print_table(Report("v", "o", (row,)), Console(file=file, width=200))
    assert "RUNPATH [/nix/store]/lib" in file.getvalue()


@pytest.mark.parametrize(
    ("statuses", "passed"), [((), False), (("ok",), True), (("ok", "note"), True), (("ok", "wrong"), False)]
)
def test_passing(statuses: tuple[Literal["ok", "wrong", "note"], ...], passed: bool) -> None:
    findings = tuple(Finding(status, "c", "e", "f") for status in statuses)
    assert Report("v", "o", findings).passed is passed


def test_expect_compares_texts() -> None:
    assert expect("c", 90, "90").status == "ok"
    assert expect("c", "sm_90", "sm_80") == Finding("wrong", "c", "sm_90", "sm_80")
