"""Wheels of any packages before and after retargeting, as a table, each result held against other tools.

    PYTHONPATH=pyhelpers/src python benchmarks/packages.py --gpu h100 --gpu a100 xgboost-*.whl vllm-*.whl

Each wheel is retargeted by the command, in a process of its own, whose time and memory are shown. Then every
entry of the result is held against its line in RECORD, and of each of its libraries with GPU code

- cuobjdump's list against ours: what was kept, and nothing else;
- what readelf and eu-elflint complain about against the same library of the official wheel.

What cuobjdump cannot read of the official library is not held against the result. Both programs are those of
PATH; cuobjdump may be that of the package nvidia-cuda-cuobjdump. Prints a table in Markdown. Exit code 1:
something was found, and is named on standard error.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cuobjdump_agreement import ours, theirs
from wheel_sizes import check

HEADER = (
    *("wheel", "GPU", "before, MB", "after, MB", "GPU code before, MB", "after, MB"),
    *("s", "CPU, s", "memory, MB", "libraries", "cuobjdump agrees", "cubins", "PTX"),
)


# What is known of a process' memory begins with that of the process which started it: a small one does, and
# says in its last line how many KiB it was.
MEASURED = """
import os, sys
_, status, usage = os.wait4(os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:]), 0)
print(usage.ru_maxrss, file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


@dataclass(frozen=True)
class Run:
    """What a process printed, its exit code, and what it took: seconds, seconds of processors."""

    code: int
    out: str
    err: str
    seconds: float
    processor: float


def run(*command: str | Path) -> Run:
    """Run a command to its end."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    taken = usage.ru_utime + usage.ru_stime
    return Run(process.returncode, texts[0], texts[1], seconds, taken)


def complaints(library: Path) -> Counter[str]:
    """The lines that readelf and eu-elflint complain in, of eu-elflint without their places."""
    read = run("readelf", "-aW", library)
    lint = run("eu-elflint", "--gnu-ld", library)
    lines = [line.replace(str(library), "") for line in read.err.splitlines()]
    lines += ["".join(" " if c.isdigit() else c for c in line) for line in lint.out.splitlines()]
    return Counter(line for line in lines if line != "No errors")


@dataclass(frozen=True)
class Held:
    """A library of a result: what it has, whether cuobjdump agrees, and what is wrong with it."""

    cubins: int
    ptx: int
    agrees: bool
    problem: str


def hold(name: str, official: Path, wheel: Path, scratch: Path) -> Held:
    """Hold a library of a retargeted wheel against the official one's. `name` is its place in that."""
    with zipfile.ZipFile(wheel) as archive:
        # The directory of its data has the version in its name.
        [entry] = [one for one in archive.namelist() if one.endswith(name.partition(".data/")[2] or name)]
        after = Path(archive.extract(entry, scratch / "after"))
    with zipfile.ZipFile(official) as archive:
        before = Path(archive.extract(name, scratch / "before"))
    (cubins, ptx), problems = ours(after)[0], []
    agrees = theirs(after)[0] == (cubins, ptx)
    if not agrees and theirs(before)[0] == ours(before)[0]:
        problems.append("cuobjdump lists other code")
    if more := complaints(after) - complaints(before):
        problems.append(f"{more.total()} new complaints, as {next(iter(more))}")
    for path in (after, before):
        path.unlink()
    return Held(len(cubins), len(ptx), agrees, f"{name}: {'; '.join(problems)}" if problems else "")


def measure(wheel: Path, gpu: str) -> tuple[list[str], list[str]]:
    """One row of the table, and what is wrong."""
    label = "-".join(wheel.name.split("-")[:2])
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        program = (
            sys.executable,
            "-m",
            "pytorch_variants",
            "retarget",
            "--json",
            "--gpu",
            gpu,
            "-o",
            scratch,
        )
        done = run(sys.executable, "-c", MEASURED, *program, wheel)
        if done.code:
            reason = done.err.splitlines()[-2].removeprefix(f"pytorch-variants: {wheel}: ")
            return [label, gpu, f"{wheel.stat().st_size / 1e6:.1f}", f"refused: {reason}", *[""] * 9], []
        [account] = json.loads(done.out)["retargeted"]
        result = Path(account["result"])
        check(result)
        found = [hold(library["path"], wheel, result, scratch) for library in account["libraries"]]
    code = [sum(one[f"gpu_code_{when}"] for one in account["libraries"]) for when in ("before", "after")]
    sizes = [account["before"], account["after"], *code]
    row = [
        label,
        gpu,
        *(f"{size / 1e6:.1f}" for size in sizes),
        f"{done.seconds:.1f}",
        f"{done.processor:.1f}",
    ]
    counts = [
        *(len(found), sum(library.agrees for library in found)),
        *(sum(library.cubins for library in found), sum(library.ptx for library in found)),
    ]
    row += [f"{int(done.err.split()[-1]) * 1024 / 1e6:.0f}", *map(str, counts)]
    return row, [library.problem for library in found if library.problem]


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--gpu", action="append", required=True)
    arguments = parser.parse_args()
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    wrong = False
    for wheel in arguments.wheels:
        for gpu in arguments.gpu:
            row, problems = measure(wheel, gpu)
            print(f"| {' | '.join(row)} |", flush=True)
            for problem in problems:
                wrong = True
                print(f"{row[0]} for {gpu}: {problem}", file=sys.stderr)
    sys.exit(wrong)


if __name__ == "__main__":
    main()
