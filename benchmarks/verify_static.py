"""How long the static verification of an installed torch takes, and how much memory.

    python benchmarks/verify_static.py ENVIRONMENT [VARIANT]

ENVIRONMENT is a directory with bin/python and a torch, as in result. Each part runs three times and the best
counts, with the files in the page cache. `import torch` is measured apart, in the environment's own Python.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pytorch_variants.findings import COMPILED
from pytorch_variants.names.variant import parse_name
from pytorch_variants.verify.cpu import check_instructions
from pytorch_variants.verify.environment import (
    find_environment,
    libraries,
)
from pytorch_variants.verify.gpu import check_gpu_code
from pytorch_variants.verify.linkage import read_linkage


def best(action: Callable[[], object]) -> float:
    """Seconds of the fastest of three runs."""

    def once() -> float:
        start = time.perf_counter()
        action()
        return time.perf_counter() - start

    return min(once() for _ in range(3))


def main() -> None:
    """Measure and print."""
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    environment = find_environment(Path(sys.argv[1]))
    variant = parse_name(sys.argv[2] if len(sys.argv) > 2 else "pytorch-sm90-avx512")
    sizes = [path.stat().st_size for path in libraries(environment.torch) if path.is_file()]
    print(f"{len(sizes)} libraries, {sum(sizes) / 1e6:.0f} MB")
    parts = {
        "GPU code": lambda: list(check_gpu_code(environment.torch, variant, COMPILED)),
        "instructions": lambda: list(check_instructions(environment.torch, variant.cpu, COMPILED)),
        "linkage": lambda: read_linkage(environment),
    }
    seconds = {name: best(action) for name, action in parts.items()}
    for name, figure in {**seconds, "together": sum(seconds.values())}.items():
        print(f"{name:14}{figure:8.3f} s")
    print(f"memory        {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:8.0f} MB")
    command = [environment.python, "-s", "-B", "-c", "import torch"]
    print(f"import torch  {best(lambda: subprocess.run(command, check=True)):8.3f} s")


if __name__ == "__main__":
    main()
