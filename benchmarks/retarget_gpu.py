"""Does a retargeted PyTorch do what the official one does, and at what cost? Asked of a real GPU.

Run with the Python that has the official CUDA wheels; needs no network, writes to a scratch directory only:

    PYTHONPATH=pyhelpers/src python benchmarks/retarget_gpu.py --out retarget.json

Copies of the installed torch, torchvision and torchaudio (hard links, where the file system allows) are
retargeted to the GPU's own architecture and to others. Then, every PyTorch in processes of its own:

- times, memory and sizes: official and retargeted in turns, medians;
- copies without code for the GPU: PyTorch has to say so when it starts, and give no wrong number;
- PyTorch's own operator cases (op_db), torchvision's and torchaudio's: the results have to be the official
  ones to the bit. Each PyTorch runs twice: what differs between the two runs says nothing.

The report is written after each part, and a part that fails loses no other. Exit code: 0 all as it should
be, 1 not, 2 nothing to check.
"""

import argparse
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

from pytorch_variants.retarget.installed import (
    OWN,
    architectures,
    retarget_directory,
)
from pytorch_variants.retarget.library import retarget_file

Json = dict[str, Any]
CHILD = Path(__file__).with_name("gpu_child.py")
NO_CODE = "no kernel image is available"
NOT_COMPATIBLE = "is not compatible with the current PyTorch installation"
MEASURED = (
    ("import torch, s", "import_s"),
    ("CUDA context, s", "context_s"),
    ("first kernel, s", "first_kernel_s"),
    ("matmul, softmax, sort, cumsum the first time, s", "several_kernels_s"),
    ("resident memory then, MiB", "resident_mb"),
    ("most resident memory, MiB", "most_resident_mb"),
)


def stop(message: str) -> NoReturn:
    """End where there is nothing to compare."""
    print(message, file=sys.stderr)
    sys.exit(2)


def copy_packages(packages: Path, target: Path) -> Path:
    """PyTorch's packages of their own in `target`, beside links to the others: RPATHs name ../../nvidia."""
    target.mkdir()

    def link(source: str, copy: str) -> None:
        # Retargeting replaces files and never writes into one: the originals are safe.
        try:
            os.link(source, copy)
        except OSError:
            shutil.copy2(source, copy)

    for path in packages.iterdir():
        if path.name in OWN:
            shutil.copytree(path, target / path.name, copy_function=link, symlinks=True)
        elif path.name != "__pycache__":
            (target / path.name).symlink_to(path)
    return target


def child(packages: Path, *arguments: str, timeout: float) -> tuple[list[Json], str]:
    """The lines of JSON of a child with the PyTorch of a site-packages directory, and how it ended."""
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    environment |= {
        "PYTHONPATH": os.pathsep.join([str(packages), environment.get("PYTHONPATH", "")]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
    }
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            [sys.executable, "-s", CHILD, *arguments], stdout=out, stderr=err, env=environment
        )
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        out.seek(0)
        err.seek(0)
        lines = []
        for text in out.read().splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                continue  # A library's own words, or a line that was cut off.
        said = err.read().strip().splitlines()
    return lines, "" if code == 0 else f"exit code {code}: {said[-1] if said else ''}"


def parity_run(packages: Path, device: str, samples: int, only: int, deadline: float) -> Json:
    """Digests by case; a case that ends its process, or leaves the card in error, costs a new process."""
    found: Json = {}
    first, end, processes = 0, time.monotonic() + deadline, 0
    while processes < 20 and (left := end - time.monotonic()) > 5:
        processes += 1
        options = ("--device", device, "--samples", str(samples), "--only", str(only))
        lines, ended = child(
            packages, "parity", *options, "--first", str(first), "--deadline", str(left), timeout=left + 20
        )
        if not lines:
            return {"cases": found, "processes": processes, "ended": ended or "it said nothing"}
        for line in lines:
            if "case" in line:
                found[line["name"]] = (
                    line if "digests" in line else {**line, "digests": [], "error": f"ended: {ended}"}
                )
        if "stopped" in lines[-1]:
            return {"cases": found, "processes": processes, "stopped": lines[-1]["stopped"]}
        first = lines[-1]["case"] + 1
    return {"cases": found, "processes": processes, "ended": "out of time"}


def compare(official: tuple[Json, Json], retargeted: tuple[Json, Json]) -> Json:
    """Sort the cases: same bits, differing, and those that one and the same PyTorch does not repeat."""
    result: Json = {"same": 0, "same_errors": 0, "results": 0, "differing": [], "unstable": [], "absent": []}
    for name in official[0]["cases"]:
        cases = [run["cases"].get(name) for run in (*official, *retargeted)]
        if None in cases:
            result["absent"].append(name)
            continue
        one, again, other, other_again = ((case["digests"], case.get("error")) for case in cases)
        if one != again or other != other_again:
            result["unstable"].append(name)
        elif one != other:
            result["differing"].append({"name": name, "official": one, "retargeted": other})
        elif not one[0]:
            # Nothing was computed: a case that the official one refuses too.
            result["same_errors"] += 1
        else:
            result["same"] += 1
            result["results"] += len(one[0])
    return result


class Benchmark:
    """The parts, each of which adds to the report, and to `wrong` what is not as it should be."""

    def __init__(self, packages: Path, scratch: Path, arguments: argparse.Namespace) -> None:
        """Nothing is run yet."""
        self.packages, self.scratch, self.arguments = packages, scratch, arguments
        self.device: str = arguments.device
        self.report: Json = {"schema": 2, "wrong": [], "failed": {}}

    def part(self, name: str, function: Callable[[], Any]) -> None:
        """Run one part; what it raises is noted."""
        start = time.monotonic()
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            self.report[name] = function()
        except Exception:  # one part that fails must not lose the others
            self.report["failed"][name] = traceback.format_exc()
            self.report["wrong"].append(f"{name} failed: {traceback.format_exc().splitlines()[-1]}")
        self.report.setdefault("part_seconds", {})[name] = round(time.monotonic() - start, 1)
        if self.arguments.out:
            self.arguments.out.write_text(json.dumps(self.report, indent=1) + "\n")

    def own(self) -> Path:
        """The copy with the GPU's own code."""
        return self.scratch / f"sm_{self.arch}"

    def prepare(self) -> Json:
        """Make the copies and retarget them."""
        available = architectures(self.packages / "torch")
        lines, ended = child(self.packages, "timing", "--device", self.device, timeout=200)
        if not lines:
            stop(f"the official torch does not run here: {ended}")
        self.machine = lines[-1]
        self.arch = int(self.machine["capability"])
        others = [arch for arch in available if arch // 10 != self.arch // 10 and arch in (80, 90, 120)]
        sizes: Json = {}
        for arch in [self.arch, *others]:
            site = copy_packages(self.packages, self.scratch / f"sm_{arch}")
            start = time.perf_counter()
            results = retarget_directory(site, [arch])
            sizes[f"sm_{arch}"] = {
                "seconds": round(time.perf_counter() - start, 3),
                "libraries": [vars(result) | {"path": result.path.name} for result in results],
            }
        return {"machine": self.machine, "available": available, "others": others, "sizes": sizes}

    def times(self) -> Json:
        """Official and retargeted in turns; the first of each is not counted."""
        runs: dict[str, list[Json]] = {"official": [], "retargeted": []}
        sites = {"official": self.packages, "retargeted": self.own()}
        for turn in range(self.arguments.runs + 1):
            for name in ("official", "retargeted") if turn % 2 else ("retargeted", "official"):
                lines, ended = child(sites[name], "timing", "--device", self.device, timeout=120)
                if not lines or not Path(lines[-1]["file"]).is_relative_to(sites[name]):
                    raise RuntimeError(f"{name}: {ended or lines[-1]['file']}")
                if turn:
                    runs[name].append(lines[-1])
        flags = runs["retargeted"][-1]["arch_flags"]
        if flags != f"sm_{self.arch}":
            self.report["wrong"].append(f"the retargeted PyTorch says that it is built for {flags}")
        return runs

    def copying(self) -> Json:
        """libtorch_cuda.so retargeted and copied in turns, seconds."""
        library = self.packages / "torch" / "lib" / "libtorch_cuda.so"
        copy, small = self.scratch / "copy.so", self.scratch / "small.so"
        seconds: dict[str, list[float]] = {"cp": [], "retarget": []}
        for _ in range(self.arguments.runs):
            for path in (copy, small):
                path.unlink(missing_ok=True)
            start = time.perf_counter()
            subprocess.run(["cp", library, copy], check=True)
            seconds["cp"].append(time.perf_counter() - start)
            start = time.perf_counter()
            retarget_file(library, small, frozenset({self.arch}))
            seconds["retarget"].append(time.perf_counter() - start)
        copy.unlink()
        small.unlink()
        return seconds

    def refusals(self) -> Json:
        """The copies without code for the card."""
        result: Json = {}
        for arch in self.report["prepare"]["others"]:
            lines, ended = child(self.scratch / f"sm_{arch}", "refusal", "--device", self.device, timeout=120)
            said = result[f"sm_{arch}"] = lines[-1] if lines else {"ended": ended}
            if self.device == "cpu":
                continue
            problems = [
                *(["it crashed: " + ended] if ended else []),
                *([] if any(NOT_COMPATIBLE in x for x in said.get("warnings", [])) else ["no warning"]),
                *([] if any(NO_CODE in x for x in said.get("errors", {}).values()) else ["no error"]),
                *(f"{name} gave a wrong number" for name in said.get("wrong", [])),
            ]
            self.report["wrong"] += [f"sm_{arch}: {problem}" for problem in problems]
        return result

    def parity(self) -> Json:
        """All operator cases, twice with each PyTorch; all at a time, the card is large enough."""
        sites = (self.packages, self.packages, self.own(), self.own())
        with ThreadPoolExecutor(len(sites)) as pool:
            runs = list(
                pool.map(
                    lambda site: parity_run(
                        site,
                        self.device,
                        self.arguments.samples,
                        self.arguments.only,
                        self.arguments.deadline,
                    ),
                    sites,
                )
            )
        result = compare((runs[0], runs[1]), (runs[2], runs[3]))
        result["runs"] = [{key: value for key, value in run.items() if key != "cases"} for run in runs]
        self.report["wrong"] += [f"{case['name']}: other bits" for case in result["differing"]]
        if not result["same"]:
            self.report["wrong"].append("no operator was compared")
        return result

    def sizes(self) -> Json:
        """What is installed and what of it a container layer takes (gzip -1), bytes."""

        def one(site: Path) -> Json:
            names = [name for name in OWN if (site / name).is_dir()]
            files = [
                path
                for name in names
                for path in (site / name).rglob("*")
                if path.is_file() and not path.is_symlink() and path.suffix != ".pyc"
            ]
            layer = subprocess.run(
                [
                    "bash",
                    "-c",
                    'tar -c --exclude=__pycache__ -C "$@" | gzip -1 | wc -c',
                    "bash",
                    site,
                    *names,
                ],
                capture_output=True,
                text=True,
                check=True,
            )
            return {"installed": sum(path.stat().st_size for path in files), "layer": int(layer.stdout)}

        with ThreadPoolExecutor(2) as pool:
            official, retargeted = pool.map(one, (self.packages, self.own()))
        return {"official": official, "retargeted": retargeted}


def markdown(report: Json) -> str:
    """The tables, for benchmarks/README.md."""
    lines: list[str] = []
    if "prepare" in report:
        machine = report["prepare"]["machine"]
        lines += [f"PyTorch {machine['torch']} on one {machine['device']}.", ""]
        lines += [
            "| retargeted to | library | before, MB | after, MB | all took, s |",
            "|---|---|---|---|---|",
        ]
        for name, size in report["prepare"]["sizes"].items():
            for item in size["libraries"]:
                row = (name, item["path"], f"{item['before'] / 1e6:.1f}", f"{item['after'] / 1e6:.1f}")
                lines.append(f"| {' | '.join(row)} | {size['seconds']:.2f} |")
        lines.append("")
    if times := report.get("times"):
        count = len(times["official"])
        lines += [
            f"| medians of {count} runs in turns (least to most) | official | retargeted |",
            "|---|---|---|",
        ]
        for title, key in MEASURED:
            cells = []
            for name in ("official", "retargeted"):
                values = [run[key] for run in times[name]]
                form = "{:.3f} ({:.3f} to {:.3f})" if key.endswith("_s") else "{:.0f} ({:.0f} to {:.0f})"
                cells.append(form.format(statistics.median(values), min(values), max(values)))
            lines.append(f"| {title} | {' | '.join(cells)} |")
        for title, key in (("installed, MB", "installed"), ("container layer (tar, gzip -1), MB", "layer")):
            if sizes := report.get("sizes"):
                cells = [f"{sizes[name][key] / 1e6:.1f}" for name in ("official", "retargeted")]
                lines.append(f"| {title} | {' | '.join(cells)} |")
        lines.append("")
    if copying := report.get("copying"):
        cp, own = (statistics.median(copying[name]) for name in ("cp", "retarget"))
        lines += [f"libtorch_cuda.so: `cp` {cp:.3f} s, retargeted {own:.3f} s, {own / cp:.2f} x `cp`.", ""]
    for name, said in report.get("refusals", {}).items():
        first = next(iter(said.get("errors", {}).values()), said.get("ended", "nothing"))
        warning = next((x for x in said.get("warnings", []) if NOT_COMPATIBLE in x), "no such warning")
        lines += [
            f"{name}: “{warning[:160]}”, then “{first}”; wrong numbers: {len(said.get('wrong', []))}.",
            "",
        ]
    if parity := report.get("parity"):
        lines += [
            f"Operator cases: {parity['same']} the same to the bit ({parity['results']} results), "
            f"{len(parity['differing'])} differ, {parity['same_errors']} refused by both in the same words, "
            f"{len(parity['unstable'])} that the same PyTorch does not repeat "
            f"({', '.join(parity['unstable'][:12])}), {len(parity['absent'])} not reached in time.",
            "",
        ]
    return "\n".join(lines)


def main() -> None:
    """Read the command line, run the parts, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="where to write the report as JSON")
    parser.add_argument("--scratch", type=Path, help="a directory on the file system that torch is on")
    parser.add_argument(
        "--device", default="cuda", choices=["cuda", "cpu"], help="cpu tries the script itself"
    )
    parser.add_argument("--runs", type=int, default=12, help="runs of each for the times")
    parser.add_argument("--samples", type=int, default=4, help="samples of each operator")
    parser.add_argument("--only", type=int, default=0, help="so many operator cases, 0 for all")
    parser.add_argument("--deadline", type=float, default=240, help="seconds for the operators")
    arguments = parser.parse_args()
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        stop("no torch is installed here")
    packages = Path(spec.origin).resolve().parent.parent
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        benchmark = Benchmark(packages, Path(scratch).resolve(), arguments)
        parts = ("prepare", "times", "copying", "refusals", "parity", "sizes")
        for name in parts:
            benchmark.part(name, getattr(benchmark, name))
    report = benchmark.report
    print(markdown(report))
    print("\n".join(report["wrong"]) or "everything is as it should be")
    sys.exit(1 if report["wrong"] else 0)


if __name__ == "__main__":
    main()
