"""How long the static verification of an installed torch takes, and how much memory.

    python benchmarks/verify_static.py ENVIRONMENT [VARIANT]

ENVIRONMENT is a directory with bin/python and a torch, as in result. It runs three times and the best counts,
with the files in the page cache; memory is the largest of all processes together. `import torch` is measured
apart, in the environment's own Python.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pytorch_variants.binary.elf import open_elf
from pytorch_variants.findings import Origin
from pytorch_variants.names.variant import parse_name
from pytorch_variants.verify.cpu import read_cpu
from pytorch_variants.verify.environment import find_environment, read_tree
from pytorch_variants.verify.static import check_files


def best(action: Callable[[], object]) -> float:
    """Seconds of the fastest of three runs."""

    def once() -> float:
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    return min(once() for _ in range(3))


def _memory(process: int) -> int:
    """Bytes of this process and of those that it started; shared pages count in part."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    except OSError:
        return 0
    own = sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
    return own + sum(_memory(int(child)) for child in children)


def peak_memory(action: Callable[[], object]) -> int:
    """Bytes at most while an action runs, looked at every 20 ms."""
    peak, done = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, _memory(os.getpid()))

    thread = threading.Thread(target=watch)
    thread.start()
    action()
    done.set()
    thread.join()
    return peak


def instructions(path: Path) -> float:
    """Seconds that a processor needs to read what one library's code needs, the fastest of three times."""

    def once() -> float:
        with open_elf(path) as elf:
            start = time.process_time()
            read_cpu(elf, path.name)
            return time.process_time() - start

    return min(once() for _ in range(3))


def main() -> None:
    """Measure and print."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    environment = find_environment(Path(sys.argv[1]))
    variant = parse_name(sys.argv[2] if len(sys.argv) > 2 else "pytorch-sm90-avx512")
    rows: list[object] = []

    def check() -> None:
        rows[:] = check_files(environment, variant, Origin.WHEEL)

    print(f"files         {best(check):8.3f} s, {len(rows)} rows")
    print(f"memory        {peak_memory(check) / 1e6:8.0f} MB")
    # In an environment of Nix' they are links.
    seconds = [instructions(path) for path in read_tree(environment.torch).elf]
    print(f"instructions  {sum(seconds):8.3f} s of a processor for {len(seconds)} libraries")
    print(f"              {max(seconds):8.3f} s for one of them")
    command = [environment.python.path, "-s", "-B", "-c", "import torch"]
    print(f"import torch  {best(lambda: subprocess.run(command, check=True)):8.3f} s")


if __name__ == "__main__":
    main()
