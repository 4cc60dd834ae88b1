"""Build each case, run a verifier on it, say what it got wrong."""

import argparse
import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import honest, wrong_cpu, wrong_files, wrong_gpu, wrong_hidden, wrong_mixtures, wrong_python
from .base import CASES, Case, copy_base

MODULES = (wrong_files, wrong_mixtures, wrong_gpu, wrong_hidden, wrong_cpu, wrong_python, honest)
LIMIT = 180
MEMORY = 16 << 30
NAMES = {0: "passes", 1: "wrong", 2: "nothing"}


@dataclass(frozen=True)
class Outcome:
    """What the verifier made of a case."""

    case: Case
    got: str
    row: str
    reason: bool
    seconds: float

    @property
    def right(self) -> bool:
        """The verifier said what it had to say."""
        return self.got in [NAMES[code] for code in self.case.exits]


def sentence(finding: dict[str, Any]) -> str:
    """A row in one line."""
    parts = []
    for key in ("check", "expected", "found", "where"):
        value = finding.get(key) or ""
        parts.append(" ".join(map(str, value)) if isinstance(value, list) else str(value))
    return " | ".join(parts)


def end(group: int) -> None:
    """End what the verifier, or the case, left running."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def verify(case: Case, command: list[str], env: Path) -> Outcome:
    """Run the verifier on an environment that is made."""
    call = [*command, str(env), "--variant", case.variant, "--origin", case.origin, "--json"]
    started = time.monotonic()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            ["prlimit", f"--as={MEMORY}", *call],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
            cwd=env.parent,
        )
        try:
            code = process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            code = None
        end(process.pid)
        process.wait()
        seconds = time.monotonic() - started
        out.seek(0)
        err.seek(0)
        said = out.read().decode(errors="replace")
        complaint = " ".join(err.read().decode(errors="replace").split())
    if code is None:
        return Outcome(case, "no end", f"no answer in {LIMIT} s", False, seconds)
    try:
        findings = json.loads(said)["findings"]
    except (ValueError, KeyError, TypeError):
        findings = None
    if code not in NAMES or (code != 2 and findings is None):
        return Outcome(case, "crash", f"exit code {code}: {complaint[-200:]}", False, seconds)
    wrong = [sentence(row) for row in findings or () if row["status"] == "wrong"]
    reason = not case.row or any(re.search(case.row, row) for row in wrong)
    return Outcome(case, NAMES[code], wrong[0] if wrong else complaint[-200:], reason, seconds)


def run(case: Case, command: list[str], bases: Path) -> Outcome:
    """Make a case, verify it, remove it."""
    base = bases / case.base
    if not base.is_dir():
        return Outcome(case, "not run", f"no base {case.base}", False, 0)
    room = Path(tempfile.mkdtemp(prefix="case-", dir=bases))
    try:
        copy_base(base, room / "env")
        return verify(case, command, case.make(room / "env") or room / "env")
    except (Exception, SystemExit):
        return Outcome(
            case, "not made", traceback.format_exc(limit=-2).strip().replace("\n", " / "), False, 0
        )
    finally:
        shutil.rmtree(room)


def line(outcome: Outcome, width: int) -> str:
    """One row of the table."""
    case = outcome.case
    expected = " or ".join(NAMES[code] for code in case.exits)
    mark = " " if outcome.right else "✗"
    if outcome.right and not outcome.reason:
        mark = "~"
    row = outcome.row.replace("\n", " ")
    return (
        f"{mark} {case.name:<{width}} {expected:<16} {outcome.got:<8} {outcome.seconds:5.1f} s  {row[:150]}"
    )


def as_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome, for machines."""
    case = outcome.case
    return {
        "name": case.name,
        "says": case.says,
        "honest": case.honest,
        "base": case.base,
        "variant": case.variant,
        "origin": case.origin,
        "debatable": case.debatable,
        "got": outcome.got,
        "right": outcome.right,
        "reason": outcome.reason,
        "row": outcome.row,
        "seconds": round(outcome.seconds, 2),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m catalogue", description=__doc__)
    parser.add_argument("--verify", default="pytorch-variants verify", help="the verifier's command")
    parser.add_argument(
        "--bases", type=Path, default=os.environ.get("CATALOGUE_BASES"), help="made by catalogue.bases"
    )
    parser.add_argument(
        "--only", action="append", default=[], help="cases whose name has this (a regular expression)"
    )
    parser.add_argument("--quick", action="store_true", help="the few that CI runs")
    parser.add_argument("--list", action="store_true", help="say what the cases are, and run none")
    parser.add_argument("--json", type=Path, help="also write the outcomes there")
    options = parser.parse_args()
    chosen = [
        case
        for case in CASES.values()
        if (case.quick or not options.quick)
        and (not options.only or any(re.search(x, case.name) for x in options.only))
    ]
    if options.list:
        for case in chosen:
            print(f"{'honest' if case.honest else 'wrong'}  {case.name}\n    {case.says}")
        return 0
    if not options.bases or not options.bases.is_dir():
        parser.error("--bases DIRECTORY (python -m catalogue.bases makes one)")
    bases = options.bases.resolve()
    os.environ["CATALOGUE_BASES"] = str(bases)
    width = max((len(case.name) for case in chosen), default=0)
    outcomes = []
    for case in chosen:
        outcome = run(case, shlex.split(options.verify), bases)
        print(line(outcome, width), flush=True)
        outcomes.append(outcome)
        if options.json:
            options.json.write_text(json.dumps([as_json(each) for each in outcomes], indent=2) + "\n")
    return summary(outcomes, width)


def summary(outcomes: list[Outcome], width: int) -> int:
    """What went wrong, last."""
    ran = [x for x in outcomes if x.got not in ("not run", "not made")]
    groups = {
        "Neither made nor run": [x for x in outcomes if x not in ran],
        "Debatable, and otherwise than the case has it": [x for x in ran if not x.right and x.case.debatable],
        "Right, but no wrong row names what is wrong": [x for x in ran if x.right and not x.reason],
        "False failures": [x for x in ran if not x.right and x.case.honest and not x.case.debatable],
        "Neither passed nor failed (no end, crash, nothing)": [
            x for x in ran if not x.right and not x.case.honest and x.got != "passes" and not x.case.debatable
        ],
        "False passes": [x for x in ran if not x.right and x.got == "passes" and not x.case.debatable],
    }
    for title, group in groups.items():
        if group:
            print(f"\n{title}: {len(group)}")
            for outcome in group:
                print(line(outcome, width))
                print(f"      {outcome.case.says}")
    honest_ones = [x for x in ran if x.case.honest]
    wrong_ones = [x for x in ran if not x.case.honest]
    print(
        f"\n{sum(x.right for x in wrong_ones)} of {len(wrong_ones)} wrong environments found, "
        f"{sum(x.right for x in honest_ones)} of {len(honest_ones)} honest ones passed"
    )
    bad = [x for x in outcomes if not x.right and not x.case.debatable and x.got != "not run"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
