"""How long the static verification of an installed torch takes, and how much memory.

    python benchmarks/verify_static.py ENVIRONMENT [VARIANT]
    python benchmarks/verify_static.py --inspect WHEEL

ENVIRONMENT is a directory with bin/python and a torch, as in result. Each line is a process and what it
starts, imports included, the best of three with the files in the page cache. "Resident" is the largest sum
over the processes, in which what they share counts once for each; "shared in part" counts it once.
cuobjdump, which Triton brings along, lists the cubins of the libraries with GPU code, one after the other:
it tells no more than that. `import torch` is by the environment's own Python.
"""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pytorch_variants.binary.elf import open_elf
from pytorch_variants.binary.fatbin import SECTION_NAME
from pytorch_variants.findings import Origin
from pytorch_variants.names.variant import parse_name
from pytorch_variants.verify.environment import find_environment, read_tree
from pytorch_variants.verify.inspect import inspect_path
from pytorch_variants.verify.static import check_files

ROUNDS = 3


def _memory(process: int) -> tuple[int, int]:
    """Bytes of a process and of those that it started: resident, and with shared pages in part."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines()
        children = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="ascii").split()
    except OSError:
        return 0, 0
    sizes = {line.split(":")[0]: int(line.split()[1]) << 10 for line in lines[1:]}
    all_ = [(sizes.get("Rss", 0), sizes.get("Pss", 0)), *(_memory(int(child)) for child in children)]
    return sum(rss for rss, _ in all_), sum(pss for _, pss in all_)


def measure(name: str, *commands: Sequence[str | Path]) -> None:
    """Run commands one after the other, several times, and print what they took."""
    rounds = []
    for _ in range(ROUNDS):
        start, before = time.perf_counter(), os.times()
        resident = shared = 0
        for command in commands:
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            while process.poll() is None:
                rss, pss = _memory(process.pid)
                resident, shared = max(resident, rss), max(shared, pss)
                time.sleep(0.02)
            if process.returncode:
                sys.exit(f"{name}: exit code {process.returncode}")
        after = os.times()
        used = after.children_user + after.children_system - before.children_user - before.children_system
        rounds.append((time.perf_counter() - start, used, resident, shared))
    wall, used, resident, shared = map(min, zip(*rounds, strict=True))
    memory = f"{resident / 1e6:5.0f} MB resident, {shared / 1e6:5.0f} MB shared in part"
    print(f"{name:<14}{wall:7.2f} s, {used:7.2f} s of a processor, {memory}")


def main() -> None:
    """Measure and print."""
    match sys.argv[1:]:
        case ["--inspect", wheel]:
            measure("inspect", [sys.executable, __file__, "--once", "inspect", wheel])
        case ["--once", "inspect", wheel]:
            inspect_path(Path(wheel))
        case ["--once", place, name]:
            list(check_files(find_environment(Path(place)), parse_name(name), Origin.WHEEL))
        case [place, *names] if len(names) < 2 and not place.startswith("-"):
            environment = find_environment(Path(place))
            name = names[0] if names else "pytorch-sm90-avx512"
            measure("files", [sys.executable, __file__, "--once", place, name])
            libraries = []
            for path in read_tree(environment.torch).elf:
                with open_elf(path) as elf:
                    if elf.section(SECTION_NAME):
                        libraries.append(path)
            tool = environment.packages / "triton/backends/nvidia/bin/cuobjdump"
            measure("cuobjdump", *[(tool, "--list-elf", path) for path in libraries])
            measure("import torch", [environment.python.path, "-s", "-B", "-c", "import torch"])
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
