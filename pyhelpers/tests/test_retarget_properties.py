"""For any wheel and any GPUs: twice is once, inspect sees what was asked for, nothing else changes."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from binaries import LIBRARIES, cuda_library
from hypothesis import given, settings
from hypothesis import strategies as st
from test_retarget import nothing_else_changes
from test_wheel import make_wheel, read

from pytorch_variants.binary.elf import open_elf
from pytorch_variants.binary.fatbin import read_fatbins
from pytorch_variants.hardware.compatibility import runs_on, select
from pytorch_variants.hardware.table import gpus
from pytorch_variants.retarget.cut import FILE as CUT_FILE
from pytorch_variants.retarget.wheel import retarget_wheel
from pytorch_variants.verify.inspect import Inspected, inspect_path

# Each has to run what all wheels here have, the library "many": 75, 80, 90 and 120.
GPUS = [75, 80, 86, 89, 90, 120, 121]
SETTINGS = settings(max_examples=8)
WHEELS = st.lists(st.sampled_from(sorted(LIBRARIES)), min_size=1, max_size=3, unique=True)
KEEP = st.lists(st.sampled_from(GPUS), min_size=1, max_size=3, unique=True)

pytestmark = pytest.mark.slow


@contextmanager
def cut(names: Sequence[str], keep: Sequence[int], ptx: bool) -> Iterator[tuple[Path, Path]]:
    """A wheel of some libraries, and the one that it is cut to."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        extra = {f"lib/lib{library}.so": cuda_library(library) for library in names}
        official = make_wheel(directory, "example", extra=extra)
        (directory / "out").mkdir()
        yield official, retarget_wheel(official, directory / "out", keep, keep_ptx=ptx, compatible=True).path


def rows(wheel: Path) -> dict[str, Inspected]:
    found = {Path(row.path).name: row for row in inspect_path(wheel, jobs=1).libraries}
    return {name: row for name, row in found.items() if row.containers and not row.owner}


@SETTINGS
@given(WHEELS, KEEP, st.booleans())
def test_cutting_twice_is_cutting_once(names: list[str], keep: list[int], ptx: bool) -> None:
    with cut(names, keep, ptx) as (_, once):
        twice = retarget_wheel(once, once.parent.parent, keep, keep_ptx=ptx, compatible=True).path
        assert twice.name == once.name
        assert twice.read_bytes() == once.read_bytes()


@SETTINGS
@given(WHEELS, KEEP)
def test_inspect_says_exactly_the_gpus(names: list[str], keep: list[int]) -> None:
    with cut(names, keep, False) as (official, wheel):
        before, after = rows(official), rows(wheel)
        wanted = {gpu.name for gpu in gpus().values() if gpu.number in keep}
        for name, row in after.items():
            # They run what they ran, and all code that is left is for one of them.
            assert set(row.gpus) & wanted == set(before[name].gpus) & wanted
            for code in row.architectures:
                digits = code.removeprefix("sm_")
                number, suffix = int(digits.rstrip("af")), digits[len(digits.rstrip("af")) :]
                assert any(runs_on("cubin", number, suffix, gpu) for gpu in keep), (name, code)
        gone = before.keys() - after.keys()
        assert all(not set(before[name].gpus) & wanted for name in gone)


@SETTINGS
@given(WHEELS, KEEP, st.booleans())
def test_what_is_not_dropped_stays(names: list[str], keep: list[int], ptx: bool) -> None:
    """To the byte: entries of the archive, sections of libraries, the GPU code that is kept."""
    with cut(names, keep, ptx) as (official, wheel):
        old, new = read(official), read(wheel)
        stated = ("METADATA", "RECORD", "version.py", CUT_FILE)
        for name, data in new.items():
            path = Path(name)
            if path.suffix == ".so":
                before, after = (official.parent / f"{when}.so" for when in ("before", "after"))
                before.write_bytes(old[name])
                after.write_bytes(data)
                nothing_else_changes(before, after)
                with open_elf(before) as one, open_elf(after) as other:
                    pairs = zip(read_fatbins(one), read_fatbins(other), strict=True)
                    for container, left in pairs:
                        kept = select(container.entries, keep, ptx)
                        assert [old[name][e.offset : e.offset + e.size] for e in kept] == [
                            data[e.offset : e.offset + e.size] for e in left.entries
                        ]
            elif path.name not in stated:
                official_name = name.replace("example-" + wheel.name.split("-")[1], "example-2.10.0")
                assert old[official_name] == data
        assert len(old) == len([name for name in new if Path(name).name != CUT_FILE])
