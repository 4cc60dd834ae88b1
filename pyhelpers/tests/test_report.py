import io
import json
from xml.etree.ElementTree import fromstring

import jsonschema
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pytorch_variants.cli.verify import print_table
from pytorch_variants.errors import UserError
from pytorch_variants.findings import (
    KINDS,
    STRICTNESSES,
    Finding,
    Origin,
    Policy,
    Report,
    Status,
    expect,
    from_json,
    note,
    ok,
    parse_origin,
    parse_policy,
    to_json,
    to_junit,
    wrong,
)

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((ROOT / "docs" / "verification-report.schema.json").read_text())
)
TEXTS = st.lists(st.text(min_size=1)).map(tuple)
FINDINGS = st.builds(
    Finding,
    st.sampled_from(("ok", "wrong", "note")),
    st.text(min_size=1),
    TEXTS,
    TEXTS,
    st.text(),
    st.text(),
    st.sampled_from(("", *KINDS)),
    st.text(),
)
POLICIES = st.builds(
    Policy,
    st.lists(st.sampled_from(("ptx", "extra:nccl", "missing:"))).map(tuple),
    st.sampled_from(STRICTNESSES),
)
REPORTS = st.builds(
    Report,
    st.just("pytorch-sm90-avx512"),
    st.sampled_from(Origin),
    st.lists(FINDINGS).map(tuple),
    POLICIES,
)


@given(REPORTS)
def test_json(report: Report) -> None:
    SCHEMA.validate(json.loads(to_json(report)))
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
    row = note("linkage", (), "RUNPATH [/nix/store]/lib")
    print_table(Report("v", Origin.WHEEL, (row,)), Console(file=file, width=200))
    assert "RUNPATH [/nix/store]/lib" in file.getvalue()


@pytest.mark.parametrize(
    ("statuses", "passed"), [((), False), (("ok",), True), (("ok", "note"), True), (("ok", "wrong"), False)]
)
def test_passing(statuses: tuple[Status, ...], passed: bool) -> None:
    findings = tuple(Finding(status, "c", ("e",), ("f",)) for status in statuses)
    assert Report("v", Origin.SOURCE, findings).passed is passed


def test_expect_compares_lists() -> None:
    assert expect("c", "sm_90", ["sm_90"]).status == "ok"
    assert expect("c", "sm_90", "sm_80") == wrong("c", "sm_90", "sm_80")
    assert expect("c", ("sm_80", "sm_90"), "sm_80 sm_90").status == "wrong"
    assert expect("c", (), "").status == "ok"


def test_the_sentence_is_made_from_the_lists() -> None:
    row = wrong("GPU code", ("sm_80", "sm_90"), ("sm_80", "PTX_90"), detail="of NCCL")
    assert (row.expected_text, row.found_text) == ("sm_80 sm_90", "sm_80 PTX_90: of NCCL")
    assert wrong("files", "readable", (), detail="not an ELF file").found_text == "not an ELF file"


def test_of_a_long_list_the_first_are_shown_unless_it_is_wrong() -> None:
    names = tuple("abcdefgh")
    assert note("files", (), names, detail="read").found_text == "a b c d e f and 2 more: read"
    assert ok("files", names[:6], names[:7]).expected_text == "a b c d e f"
    assert ok("files", names[:6], names[:7]).found_text == "a b c d e f and 1 more"
    assert wrong("files", (), names).found_text == "a b c d e f g h"


PTX = wrong("GPU code", "sm_90", "PTX_90", kind="ptx", subject="libtorch_cuda.so")
EXTRA = wrong("GPU code", "sm_90", "sm_80", kind="extra", subject="nvidia/nccl/lib/libnccl.so.2")
OTHER = wrong("linkage", "found", "no libc10.so")


@pytest.mark.parametrize(
    ("allow", "strictness", "statuses"),
    [
        ("", "error", "wrong wrong wrong"),
        ("ptx", "error", "note wrong wrong"),
        ("ptx,extra", "error", "note note wrong"),
        ("extra:NCCL", "error", "wrong note wrong"),
        ("extra:magma", "error", "wrong wrong wrong"),
        ("missing", "error", "wrong wrong wrong"),
        ("", "note", "note note wrong"),
        ("", "ignore", "wrong"),
        ("ptx", "ignore", "note wrong"),
    ],
)
def test_what_is_let_pass(allow: str, strictness: str, statuses: str) -> None:
    policy = parse_policy(allow, strictness)
    assert " ".join(row.status for row in policy.apply([PTX, EXTRA, OTHER])) == statuses


def test_what_is_right_is_not_touched_by_a_policy() -> None:
    row = Finding("ok", "GPU code", ("sm_90",), ("sm_90",), kind="ptx")
    assert list(parse_policy("ptx", "ignore").apply([row])) == [row]
    assert ok("c", "e", "f") in list(parse_policy("", "ignore").apply([ok("c", "e", "f")]))


def test_a_report_says_what_was_let_pass() -> None:
    file = io.StringIO()
    report = Report("v", Origin.WHEEL, (ok("c", "e", "e"),), parse_policy("ptx,extra:nccl", "note"))
    print_table(report, Console(file=file, width=200))
    assert "but for what was let pass: ptx, extra:nccl, strictness note" in file.getvalue()
    assert json.loads(to_json(report))["allow"] == ["ptx", "extra:nccl"]
    properties = {item.attrib["name"]: item.attrib["value"] for item in fromstring(to_junit(report)[38:])[0]}
    assert properties == {"origin": "wheel", "allow": "ptx,extra:nccl", "strictness": "note"}


@pytest.mark.parametrize(
    ("allow", "strictness"), [("sass", "error"), ("nccl:extra", "error"), ("", "strict")]
)
def test_a_policy_that_is_none(allow: str, strictness: str) -> None:
    with pytest.raises(UserError, match="write "):
        parse_policy(allow, strictness)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("source", Origin.SOURCE),
        ("wheel", Origin.WHEEL),
        ("compiled from source", Origin.SOURCE),
        ("official wheel, retargeted; CPU flags not applied", Origin.WHEEL),
    ],
)
def test_origins(text: str, origin: Origin) -> None:
    assert parse_origin(text) is origin


def test_an_origin_that_is_none() -> None:
    with pytest.raises(UserError, match="write source or wheel"):
        parse_origin("conda")
