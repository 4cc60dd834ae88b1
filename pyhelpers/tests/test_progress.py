"""What conftest.py does for all tests: one that takes long is named while it runs."""

import subprocess
import sys
from pathlib import Path

import pytest

PLUGIN = """
import sys
sys.path.append({tests!r})
import conftest
conftest.SILENCE = 0.1
from conftest import pytest_configure
"""
TEST = """
import pathlib, time
def test_that_takes_long():
    print("captured", flush=True)
    while not pathlib.Path("named").exists():
        time.sleep(0.01)
"""


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["here", "in another process"])
def test_a_test_that_takes_long_is_named_while_it_runs(options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text(PLUGIN.format(tests=str(Path(__file__).parent)))
    (tmp_path / "test_it.py").write_text(TEST)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "plugin",
        "-p",
        "no:cacheprovider",
        *options,
        "test_it.py",
    ]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        # It ends when it has been named.
        assert next(
            line for line in process.stdout if line.startswith("test_it.py::test_that_takes_long: for ")
        )
        (tmp_path / "named").touch()
        assert "1 passed" in process.stdout.read()
    assert process.returncode == 0
