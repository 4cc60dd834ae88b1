"""How long a command makes people wait, beside Python itself: pytest benchmarks/test_startup.py."""

import subprocess
import sys

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

COMMANDS = {
    "python": ("-c", "pass"),
    "import typer": ("-c", "import typer"),
    "lookup": ("-m", "pytorch_variants", "lookup", "H100"),
    "lookup --json": ("-m", "pytorch_variants", "lookup", "H100", "--json"),
    "list": ("-m", "pytorch_variants", "list"),
    "list --github-matrix": ("-m", "pytorch_variants", "list", "--github-matrix"),
    "detect": ("-m", "pytorch_variants", "detect"),
    "--help": ("-m", "pytorch_variants", "--help"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_startup(benchmark: BenchmarkFixture, command: str) -> None:
    """A new process each time."""
    arguments = [sys.executable, *COMMANDS[command]]
    benchmark.pedantic(subprocess.run, (arguments,), {"capture_output": True, "check": True}, rounds=20)
