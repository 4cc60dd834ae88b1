"""What the matrix costs: the model against its own sample, and the command."""

import json
import re
import runpy
import sys
from itertools import combinations, product
from typing import Any

import pytest
from commands import call, is_refused
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from pytorch_variants.cost.matrix import (
    ATTENTION,
    CPP,
    CUDA,
    matrix_cost,
)
from pytorch_variants.hardware.table import (
    cpus,
    gpus,
)
from pytorch_variants.names.matrix import (
    Entry,
    entries,
)

SYSTEM = "x86_64-linux"
ALL = entries([SYSTEM])


def least(found: list[Entry], builders: int) -> float:
    """Hours of the best of all ways to share variants out."""
    alone = {
        part: matrix_cost(list(part))[1].hours
        for size in range(1, len(found) + 1)
        for part in combinations(found, size)
    }
    ways = (
        [tuple(one for one, place in zip(found, places, strict=True) if place == n) for n in range(builders)]
        for places in product(range(builders), repeat=len(found))
    )
    return min(max(alone[part] for part in way if part) for way in ways)


def test_the_constants_are_those_of_the_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    report = runpy.run_path(str(ROOT / "benchmarks" / "compile_report.py"))
    sys.modules.pop("compile_sharing")
    rows = report["read"](ROOT / "benchmarks" / "compile_sample.csv")
    for kind, constants in {"cuda": CUDA, "attention": ATTENTION, "c++": CPP}.items():
        assert report["constants"](rows, kind) == constants


def test_the_numbers_of_files_are_those_of_the_page() -> None:
    """They were counted in PyTorch 2.6's source tree, which no test has."""
    page = (ROOT / "benchmarks" / "README.md").read_text()
    for name, kind in (("CUDA", CUDA), ("attention, CUDA", ATTENTION), ("C++", CPP)):
        [row] = re.findall(rf"^\| {re.escape(name)} \| ([0-9]+) \|", page, re.MULTILINE)
        assert kind.files == int(row)


@pytest.mark.parametrize(
    ("of_each_gpu", "builders"),
    [({"sm90": 4}, 2), ({"sm80": 1, "sm90": 1, "sm120": 1}, 2), ({"sm80": 3, "sm90": 2}, 3)],
)
def test_the_schedule_is_the_best_there_is(of_each_gpu: dict[str, int], builders: int) -> None:
    found = [one for gpu, number in of_each_gpu.items() for one in entries([SYSTEM], [gpu])[:number]]
    assert matrix_cost(found, builders)[1].hours == pytest.approx(least(found, builders))


def test_single_builds_go_where_the_least_is() -> None:
    found = entries([SYSTEM], ["sm90", "cpu"], ["avx2"])
    single = [matrix_cost([one])[0].hours for one in found]
    assert matrix_cost(found, builders=2)[0].hours == pytest.approx(max(single))
    assert matrix_cost(found * 2, builders=2)[0].hours == pytest.approx(sum(single))


def test_one_variant_by_hand() -> None:
    [one] = entries(gpu=["sm90"], cpu=["avx512"])
    single, shared = matrix_cost([one], builders=1, cores=1)
    compiled = sum(kind.files * kind.plain for kind in (CUDA, ATTENTION, CPP)) / 3600
    assert single.core_hours == single.hours == pytest.approx(compiled)
    # With nothing to share the cache only costs.
    missed = sum(kind.files * kind.miss for kind in (CUDA, ATTENTION, CPP)) / 3600
    assert shared.core_hours == pytest.approx(missed)


def test_two_by_two_by_hand() -> None:
    """One builder compiles each GPU once and each instruction set once; the rest are hits."""
    found = entries(gpu=["sm80", "sm90"], cpu=["avx2", "avx512"])
    _, shared = matrix_cost(found)
    once = sum(kind.files * (2 * kind.miss + 2 * kind.hit) for kind in (CUDA, ATTENTION, CPP))
    assert shared.core_hours == pytest.approx(once / 3600)


def test_a_build_without_a_gpu_shares_nothing() -> None:
    found = entries(gpu=["sm90", "cpu"], cpu=["avx512"], system=[SYSTEM])
    _, shared = matrix_cost(found)
    assert shared.core_hours == pytest.approx(sum(matrix_cost([one])[1].core_hours for one in found))


def test_another_system_shares_nothing_and_has_its_own_builders() -> None:
    x86 = entries([SYSTEM], gpu=["sm90"])
    arm = entries(["aarch64-linux"], gpu=["sm90"])
    for whole, one, other in zip(
        matrix_cost([*x86, *arm], 2, 8), matrix_cost(x86, 2, 8), matrix_cost(arm, 2, 8), strict=True
    ):
        assert whole.core_hours == pytest.approx(one.core_hours + other.core_hours)
        assert whole.hours == pytest.approx(max(one.hours, other.hours))


@given(
    st.lists(st.sampled_from(ALL), min_size=1, max_size=30, unique=True),
    st.integers(1, 12),
    st.integers(1, 64),
)
def test_bounds(found: list[Entry], builders: int, cores: int) -> None:
    for cost in matrix_cost(found, builders, cores):
        # No builder can end before all of them have worked all the time, nor after one has worked alone.
        assert cost.core_hours / builders / cores <= cost.hours * (1 + 1e-9)
        assert cost.hours <= cost.core_hours / cores * (1 + 1e-9)
    single, shared = matrix_cost(found, builders, cores)
    more = matrix_cost(found, builders + 1, cores)
    assert single.core_hours == pytest.approx(more[0].core_hours)
    most = max(kind.miss / kind.plain for kind in (CUDA, ATTENTION, CPP))
    assert shared.core_hours <= single.core_hours * max(most, 1) * (1 + 1e-9)


def plan(*arguments: object) -> dict[str, Any]:
    code, out, err = call("plan", "--matrix", *arguments, "--json")
    assert (code, err) == (0, "")
    found: dict[str, Any] = json.loads(out)
    return found


def test_the_command() -> None:
    found = plan("--system", SYSTEM, "--builders", 4, "--cores", 16)
    single, shared = matrix_cost(ALL, 4, 16)
    assert (found["variants"], found["builders"], found["cores"]) == (len(ALL), 4, 16)
    assert found["single"] == {"core_hours": single.core_hours, "hours": single.hours}
    assert found["shared"] == {"core_hours": shared.core_hours, "hours": shared.hours}
    assert found["shared"]["hours"] < found["single"]["hours"]


def test_the_filters_are_those_of_list() -> None:
    assert plan("--gpu", "H100", "--gpu", "A100", "--cpu", "avx512")["variants"] == 2
    everything = plan()["variants"]
    assert everything == sum(
        bool(set(gpu.platforms) & {platform}) for gpu in gpus().values() for cpu in cpus().values()
        for platform in cpu.platforms
    ) + len(cpus())  # fmt: skip


def test_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    code, out, _ = call("plan", "--matrix", "--gpu", "H100", "--builders", 3, "--cores", 8)
    assert code == 0
    found = plan("--gpu", "H100", "--builders", 3, "--cores", 8)
    assert f"{found['variants']} variants" in out
    assert f"{found['single']['core_hours']:.1f}" in out
    assert f"{found['shared']['core_hours'] / found['single']['core_hours']:.1%}" in out
    assert found["basis"] in out


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("pytorch-sm90-avx2", "--matrix"),
        ("--gpu", "H100"),
        ("pytorch-sm90-avx2", "--cpu", "avx2"),
        ("--matrix", "--gpu", "H1000"),
        ("--matrix", "--builders", "0"),
        ("--matrix", "--cores", "none"),
        ("--matrix", "--gpu", "sm61", "--cuda", "13.0"),
    ],
)
def test_wrong_calls(arguments: tuple[str, ...]) -> None:
    assert is_refused(call("plan", *arguments))
