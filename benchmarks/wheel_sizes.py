"""The official wheels before and after retargeting, as a table.

    python benchmarks/wheel_sizes.py --gpu h100 torch-*.whl

Each wheel is retargeted into a scratch directory, and every entry of the result held against its checksum
and its line in RECORD. Then libtorch_cuda.so alone is retargeted and copied with `cp`, in turns: medians of
`--runs`. Memory is the process's high-water mark over all of it.
"""

import argparse
import base64
import csv
import hashlib
import io
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.spelling import parse_gpu
from pytorch_variants.retarget.library import retarget_file
from pytorch_variants.retarget.wheel import retarget_wheel

MAIN = "torch/lib/libtorch_cuda.so"
HEADER = (
    "wheel",
    "before, MB",
    "after, MB",
    "seconds",
    "libtorch_cuda.so before, MB",
    "after, MB",
    "ms",
    "cp, ms",
    "x cp",
)


def timed(function: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def check(wheel: Path) -> None:
    """Hold every entry of a wheel against its checksum and its line in RECORD."""
    with zipfile.ZipFile(wheel) as archive:
        [record] = [name for name in archive.namelist() if name.endswith(".dist-info/RECORD")]
        rows = {row[0]: row[1:] for row in csv.reader(io.StringIO(archive.read(record).decode()))}
        assert set(rows) == {name for name in archive.namelist() if not name.endswith("/")}
        for name, (digest, size) in rows.items():
            if name != record:
                found = hashlib.sha256()
                with archive.open(name) as file:
                    while data := file.read(1 << 20):
                        found.update(data)
                kind, _, expected = digest.partition("=")
                assert kind == "sha256"
                assert base64.urlsafe_b64encode(found.digest()).rstrip(b"=").decode() == expected, name
                assert archive.getinfo(name).file_size == int(size), name


def copy_against(wheel: Path, scratch: Path, arch: int, runs: int) -> tuple[str, ...]:
    """libtorch_cuda.so retargeted and copied, in turns."""
    with zipfile.ZipFile(wheel) as archive:
        library = Path(archive.extract(MAIN, scratch))
    copy, small = scratch / "copy.so", scratch / "small.so"
    times: dict[str, list[float]] = {"retarget": [], "cp": []}
    for _ in range(runs):
        for path in (copy, small):
            path.unlink(missing_ok=True)
        times["cp"].append(timed(lambda: subprocess.run(["cp", library, copy], check=True)))
        times["retarget"].append(timed(lambda: retarget_file(library, small, frozenset({arch}))))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return (
        f"{library.stat().st_size / 1e6:.1f}",
        f"{small.stat().st_size / 1e6:.1f}",
        f"{medians['retarget'] * 1000:.0f}",
        f"{medians['cp'] * 1000:.0f}",
        f"{medians['retarget'] / medians['cp']:.2f}",
    )


def measure(wheel: Path, arch: int, runs: int) -> tuple[str, ...]:
    """One line of the table."""
    name = "-".join(wheel.name.split("-")[:2])
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        start = time.perf_counter()
        try:
            result = retarget_wheel(wheel, scratch, [arch])
        except UserError as error:
            return name, f"refused: {error}"
        seconds = time.perf_counter() - start
        check(result.path)
        row = name, f"{result.before / 1e6:.1f}", f"{result.after / 1e6:.1f}", f"{seconds:.1f}"
        result.path.unlink()
        with zipfile.ZipFile(wheel) as archive:
            has_main = MAIN in archive.namelist()
        return (*row, *copy_against(wheel, scratch, arch, runs)) if has_main else row


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", nargs="+", type=Path)
    parser.add_argument("--gpu", default="h100")
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    print(f"| {' | '.join(HEADER)} |\n|{'---|' * len(HEADER)}")
    for wheel in arguments.wheels:
        print(
            f"| {' | '.join(measure(wheel, parse_gpu(arguments.gpu).number, arguments.runs))} |", flush=True
        )
    print(
        f"\nmemory: at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
