"""How long a command makes people wait, beside Python itself: pytest benchmarks/test_startup.py.

Processor time, user and system: other work on the machine changes it little, and on an idle one it is the
wait. The target is 60 ms more than Python's own start for `lookup H100 --json`.
"""

import resource
import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

COMMANDS = {
    "python": ("-c", "pass"),
    "import click": ("-c", "import click"),
    "lookup": ("-m", "pytorch_variants", "lookup", "H100"),
    "lookup --json": ("-m", "pytorch_variants", "lookup", "H100", "--json"),
    "list": ("-m", "pytorch_variants", "list"),
    "list --github-matrix": ("-m", "pytorch_variants", "list", "--github-matrix"),
    "detect": ("-m", "pytorch_variants", "detect"),
    "--help": ("-m", "pytorch_variants", "--help"),
}


def processor_time() -> float:
    """Of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.benchmark(timer=processor_time)
@pytest.mark.parametrize("command", COMMANDS)
def test_startup(benchmark: BenchmarkFixture, command: str) -> None:
    """A new process each time."""
    arguments = [sys.executable, *COMMANDS[command]]
    benchmark.pedantic(subprocess.run, (arguments,), {"capture_output": True, "check": True}, rounds=20)
