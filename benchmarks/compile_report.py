"""What a sample that compile_sharing.py has compiled comes to: sharing, memory, and the model's constants.

    PYTHONPATH=pyhelpers/src python benchmarks/compile_report.py benchmarks/compile_sample.csv

The strata are quarters of PyTorch's files by size, so that a mean is that of the quarters' means. Memory is
asked of a simulation: a build of as many files as PyTorch has, drawn from the sample, as many at once as
lib/limitJobs.nix allows on a machine, each at its peak from beginning to end.
"""

import argparse
import csv
import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from statistics import fmean, quantiles

from compile_sharing import Compiled

from pytorch_variants.cost.jobs import compiler_jobs
from pytorch_variants.cost.matrix import (
    ATTENTION,
    CPP,
    CUDA,
    Kind,
)

KINDS = {"cuda": CUDA, "attention": ATTENTION, "c++": CPP}
# What is free on a machine with 16 GB, in GiB.
FREE = 14.5
BUILDS = 300


def read(path: Path) -> list[Compiled]:
    """The rows of compile_sharing.py."""
    with path.open(newline="") as file:
        _, *rows = csv.reader(file)
    return [
        Compiled(file, kind, int(quarter), gpu, cpu, result, float(seconds), float(peak))
        for file, kind, quarter, gpu, cpu, result, seconds, peak in rows
    ]


def mean(rows: Iterable[Compiled], value: Callable[[Compiled], float] = lambda row: row.seconds) -> float:
    """The mean over PyTorch's files: of the quarters' means."""
    quarters = defaultdict(list)
    for row in rows:
        quarters[row.quarter].append(value(row))
    return fmean(map(fmean, quarters.values()))


def overhead(rows: Sequence[Compiled]) -> float:
    """What a miss takes, as a multiple of compiling the file without a cache; below 1 it is noise."""
    plain = {row.file: row for row in rows if row.result == "plain"}
    if not plain:
        return 1.0
    misses = [
        row.seconds
        for row in rows
        if row.result == "miss"
        and row.file in plain
        and (row.gpu, row.cpu) == (plain[row.file].gpu, plain[row.file].cpu)
    ]
    return max(1.0, sum(misses) / sum(row.seconds for row in plain.values()))


def constants(rows: Sequence[Compiled], kind: str) -> Kind:
    """One kind's figures for pytorch_variants.cost.matrix, with its number of files."""
    own = [row for row in rows if row.kind == kind]
    miss = mean(row for row in own if row.result == "miss")
    return Kind(
        files=KINDS[kind].files,
        plain=round(miss / overhead(own), 2),
        miss=round(miss, 2),
        hit=round(mean(row for row in own if row.result not in ("miss", "plain")), 2),
    )


def peaks(rows: Iterable[Compiled]) -> list[Compiled]:
    """The compilation of each file that took most memory, by the compilers themselves."""
    found: dict[str, Compiled] = {}
    for row in rows:
        if row.file not in found or found[row.file].peak < row.peak:
            found[row.file] = row
    return list(found.values())


def simulate(sample: Sequence[Compiled], jobs: int, seed: int) -> float:
    """GiB in use at the worst moment of one build."""
    draw = random.Random(seed)
    strata = defaultdict(list)
    for row in sample:
        strata[row.kind, row.quarter].append(row)
    files: list[Compiled] = []
    for (kind, _), rows in strata.items():
        quarters = len({quarter for other, quarter in strata if other == kind})
        files += draw.choices(rows, k=KINDS[kind].files // quarters)
    draw.shuffle(files)
    running: list[tuple[float, float]] = []
    now = used = worst = 0.0
    for row in files:
        if len(running) == jobs:
            now, peak = heapq.heappop(running)
            used -= peak
        # A file that took next to no time still ends after it has begun.
        heapq.heappush(running, (now + row.seconds, row.peak))
        used += row.peak
        worst = max(worst, used)
    return worst / 1024


def print_sharing(rows: Sequence[Compiled]) -> None:
    """Hits, misses and CPU seconds of each variant, with the cache and without."""
    variants = dict.fromkeys((row.gpu, row.cpu) for row in rows)
    names = {"cuda": "CUDA", "c++": "C++"}
    print("| variant | " + " | ".join(f"{n} hits | {n} misses | {n}, s | without, s" for n in names.values()))
    for gpu, cpu in variants:
        cells = []
        for kind in names:
            own = [row for row in rows if row.kind == kind and row.result != "plain"]
            here = [row for row in own if (row.gpu, row.cpu) == (gpu, cpu)]
            # What this variant would compile: nvcc sees the GPU, g++ the instruction set.
            same = [row for row in own if row.result == "miss" and (
                row.gpu == gpu if kind == "cuda" else row.cpu == cpu)]  # fmt: skip
            alone = sum(row.seconds for row in same) / overhead([r for r in rows if r.kind == kind])
            misses = sum(row.result == "miss" for row in here)
            cells += [len(here) - misses, misses, f"{sum(row.seconds for row in here):.1f}", f"{alone:.1f}"]
        print(f"| {gpu}-{cpu} |", " | ".join(map(str, cells)), "|")


def print_memory(rows: Sequence[Compiled]) -> None:
    """The distribution of peaks, and what a machine with 16 GB makes of it."""
    compiled = peaks(row for row in rows if row.result in ("miss", "plain"))
    for kind in KINDS:
        found = sorted(row.peak for row in compiled if row.kind == kind)
        if len(found) > 1:
            cuts = quantiles(found, n=10, method="inclusive")
            print(f"{kind}: {len(found)} files, MB: least {found[0]:.0f}, median {cuts[4]:.0f}, "
                  f"9 of 10 below {cuts[8]:.0f}, most {found[-1]:.0f}")  # fmt: skip
    largest = max(row.peak for row in compiled) / 1024
    for per_job in (6, 4, 3, 2):
        jobs = compiler_jobs(64, FREE, per_job)
        worst = [simulate(compiled, jobs, seed) for seed in range(BUILDS)]
        over = sum(one > FREE for one in worst)
        print(f"memoryPerJob {per_job}: {jobs} jobs, worst moment of {BUILDS} builds {max(worst):.1f} GiB, "
              f"{over} over {FREE}; {jobs} of the largest at once {jobs * largest:.1f} GiB")  # fmt: skip


def main() -> None:
    """Print all of it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sample", type=Path)
    rows = read(parser.parse_args().sample)
    print_sharing(rows)
    for kind in KINDS:
        if own := [row for row in rows if row.kind == kind]:
            print(kind, constants(rows, kind), f"overhead {overhead(own):.3f}")
    print_memory(rows)


if __name__ == "__main__":
    main()
