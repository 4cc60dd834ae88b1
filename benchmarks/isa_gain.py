"""What a variant's instruction set buys where PyTorch does not choose the code at run time.

Four of PyTorch's own files that stand outside its dispatch are compiled with the flags of each instruction
set and with none, as the official wheels are, and linked before the official libtorch_cpu.so of the same
version, so that all but them is the same:

    PYTHONPATH=pyhelpers/src nice python benchmarks/isa_gain.py SOURCE --include DIR … --lib torch/lib

SOURCE and --include are those of compile_sharing.py; --lib, which may be repeated, has the wheel's libraries
and those of CUDA that they need. The programs run in turns, on one thread, and CPU time is what counts; what
is printed are medians. Exit code: 0, or 1 if two of them compute something else.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from compile_sharing import DEFINES, include_options

from pytorch_variants.hardware.spelling import parse_cpu

FILES = ("Im2Col", "LossCTC", "Bucketization", "GridSampler")
BASE = "none"
ISAS = (BASE, "avx2", "avx512", "avx512bf16")


def build(options: argparse.Namespace, scratch: Path) -> dict[str, Path]:
    """The programs, each with its four files compiled for one instruction set."""
    common = [w for w in DEFINES if "CXX11_ABI" not in w and w != "-DUSE_CUDA"]
    common += [f"-D_GLIBCXX_USE_CXX11_ABI={options.abi}", "-fopenmp"]
    common += include_options(options.source, options.include)
    libraries = [word for path in options.lib for word in (f"-L{path}", f"-Wl,-rpath-link,{path}")]
    libraries += ["-ltorch_cpu", "-lc10", *map(str, options.lib[0].glob("libgomp*"))]

    def compiled(source: Path, isa: str) -> Path:
        out = scratch / f"{source.stem}-{isa}.o"
        flags = parse_cpu(isa).flags if isa != BASE else ()
        subprocess.run([options.cxx, *flags, "-O3", *common, "-c", source, "-o", out], check=True)
        return out

    timer = compiled(Path(__file__).with_suffix(".cpp"), BASE)
    for isa in ISAS:
        objects = [compiled(options.source / f"aten/src/ATen/native/{name}.cpp", isa) for name in FILES]
        subprocess.run([options.cxx, timer, *objects, *libraries, "-o", scratch / isa], check=True)
    return {isa: scratch / isa for isa in ISAS}


def main() -> int:
    """Compile, take turns, print medians."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("--include", type=Path, action="append", required=True)
    parser.add_argument("--lib", type=Path, action="append", required=True)
    parser.add_argument("--cxx", default="g++")
    parser.add_argument("--abi", default="0", help="_GLIBCXX_USE_CXX11_ABI of the wheel")
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    options.source = options.source.resolve()
    times: dict[str, dict[str, list[int]]] = {isa: {} for isa in ISAS}
    sums: dict[str, set[str]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        programs = build(options, Path(scratch))
        libraries = ":".join(map(str, options.lib))
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "LD_LIBRARY_PATH": libraries}
        for _ in range(options.rounds):
            for isa, program in programs.items():
                out = subprocess.run(
                    [program, "15"], check=True, capture_output=True, text=True, env=environment
                ).stdout
                for line in out.splitlines():
                    (name, *numbers), total = line.split(" = ")[0].split(), line.split(" = ")[1]
                    times[isa].setdefault(name, []).extend(map(int, numbers))
                    sums.setdefault(name, set()).add(f"{float(total):.4g}")
    print("| operator |", " | ".join(f"{isa}, ms" for isa in ISAS), "|\n|---|" + "---|" * len(ISAS))
    for name in times[BASE]:
        medians = [statistics.median(times[isa][name]) for isa in ISAS]
        cells = [f"{m / 1e6:.2f} ({(medians[0] / m - 1) * 100:+.0f} %)" for m in medians]
        print(f"| {name} | {medians[0] / 1e6:.2f} |", " | ".join(cells[1:]), "|")
    for isa in ISAS[1:]:
        ratios = [statistics.median(times[BASE][n]) / statistics.median(times[isa][n]) for n in times[BASE]]
        print(f"{isa}: {(statistics.geometric_mean(ratios) - 1) * 100:+.1f} % (geometric mean)")
    differ = [name for name, found in sums.items() if len(found) > 1]
    if differ:
        print("not the same result:", *differ)
    return int(bool(differ))


if __name__ == "__main__":
    sys.exit(main())
