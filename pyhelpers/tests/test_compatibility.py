"""Whose code runs on which GPU, held against what NVIDIA's documents say in words."""

from dataclasses import dataclass
from itertools import product
from typing import Literal

import pytest
from conftest import Nix
from hypothesis import given
from hypothesis import strategies as st

from pytorch_variants.hardware.compatibility import nearest_code, runs_on, select
from pytorch_variants.hardware.table import gpus

Kind = Literal["cubin", "ptx"]


@dataclass(frozen=True)
class Piece:
    """Code for one architecture, as `select` takes it."""

    kind: Kind
    arch: int
    suffix: str = ""


NUMBERS = sorted({gpu.number for gpu in gpus().values()})
TEGRA = {gpu.number for gpu in gpus().values() if gpu.tegra}


# CUDA C++ Programming Guide, "Binary Compatibility": a cubin of X.y runs on X.z with z >= y alone. "PTX
# Compatibility": PTX of a capability compiles for it and for all later ones. "Feature Set Compatibility":
# architecture-specific code runs on its capability alone, family-specific code in its family, which table
# has compute_100f on 10.0 and 10.3, compute_103f on 10.3, compute_120f on 12.0 and 12.1. CUDA for Tegra,
# "Developing for Tegra": no machine code crosses between Orin (8.7) and the desktop's 8.0 and 8.6.
@pytest.mark.parametrize(
    ("kind", "code", "runs", "not_on"),
    [
        ("cubin", "50", [50, 52], [60, 61, 70]),
        ("cubin", "60", [60, 61], [52, 70]),
        ("cubin", "70", [70, 75], [61, 80]),
        ("cubin", "80", [80, 86, 89], [75, 87, 90]),
        ("cubin", "86", [86, 89], [80, 87, 90]),
        ("cubin", "87", [87], [80, 86, 89, 90]),
        ("cubin", "89", [89], [86, 87, 90]),
        ("cubin", "90", [90], [80, 89, 100]),
        ("cubin", "90a", [90], [80, 89, 100, 120]),
        ("cubin", "100", [100, 103], [90, 110, 120]),
        ("cubin", "100a", [100], [103, 110, 120]),
        ("cubin", "100f", [100, 103], [90, 110, 120]),
        ("cubin", "103f", [103], [100, 110]),
        ("cubin", "110", [110], [100, 103, 120]),
        ("cubin", "120", [120, 121], [100, 110]),
        ("cubin", "120f", [120, 121], [110]),
        ("cubin", "121a", [121], [120]),
        ("ptx", "50", [50, 61, 75, 87, 90, 110, 121], []),
        ("ptx", "80", [80, 86, 87, 89, 90, 110, 120], [75, 70]),
        ("ptx", "86", [87, 110], [80]),
        ("ptx", "90a", [90], [89, 100, 120]),
        ("ptx", "100f", [100, 103], [90, 110, 120]),
        ("ptx", "120", [120, 121], [103, 110]),
    ],
)
def test_nvidias_examples(kind: Kind, code: str, runs: list[int], not_on: list[int]) -> None:
    arch, suffix = int(code.rstrip("af")), code.lstrip("0123456789")
    assert [target for target in runs if not runs_on(kind, arch, suffix, target)] == []
    assert [target for target in not_on if runs_on(kind, arch, suffix, target)] == []


@pytest.mark.parametrize(("arch", "target"), list(product(NUMBERS, NUMBERS)))
def test_what_holds_of_all_pairs(arch: int, target: int) -> None:
    found = {
        (kind, suffix): runs_on(kind, arch, suffix, target)
        for kind in ("cubin", "ptx")
        for suffix in ("", "a", "f")
    }
    # Code for one architecture alone runs nowhere that the same code for its family does not.
    for kind in ("cubin", "ptx"):
        assert found[kind, "a"] <= found[kind, "f"] <= found[kind, ""]
    # The driver can compile PTX for every GPU that runs the machine code.
    for suffix in ("", "a", "f"):
        assert found["cubin", suffix] <= found["ptx", suffix]
    assert found["cubin", ""] <= (arch // 10 == target // 10)
    assert found["cubin", ""] <= ((arch in TEGRA) == (target in TEGRA))
    assert found["ptx", ""] == (arch <= target)
    assert all(found.values()) == (arch == target)


@given(st.sets(st.sampled_from(NUMBERS)), st.sampled_from(NUMBERS))
def test_the_nearest_code_runs_and_none_that_runs_is_later(have: set[int], target: int) -> None:
    found = nearest_code(have, target)
    running = {arch for arch in have if runs_on("cubin", arch, "", target)}
    assert (found in running and found == max(running)) if running else found is None
    if target in have:
        assert found == target


@pytest.mark.parametrize(
    ("targets", "keep_ptx", "kept"),
    [
        # Its own, else the latest earlier cubin, whatever PTX there is; the latest PTX where no cubin runs.
        ([80], False, "cubin 80"),
        ([86], False, "cubin 86"),
        ([89], False, "cubin 86"),
        ([90], False, "ptx 86"),
        ([70], False, "ptx 60"),
        ([87], False, "ptx 86"),
        ([50], False, ""),
        ([80, 89, 90], False, "cubin 80, cubin 86, ptx 86"),
        ([80], True, "cubin 80, ptx 80"),
        ([89], True, "cubin 86"),
    ],
)
def test_what_is_selected(targets: list[int], keep_ptx: bool, kept: str) -> None:
    codes: list[tuple[Kind, int]] = [("ptx", 60), ("cubin", 80), ("ptx", 80), ("cubin", 86), ("ptx", 86)]
    entries = [Piece(kind, arch) for kind, arch in codes]
    for given_ in (entries, entries[::-1]):
        found = select(given_, targets, keep_ptx)
        assert list(found) == [entry for entry in given_ if entry in found]
        assert ", ".join(f"{entry.kind} {entry.arch}" for entry in entries if entry in found) == kept


def test_nix_has_the_same_rule(nix: Nix) -> None:
    """Over all pairs of the table's GPUs, both kinds of code and every suffix."""
    answers = nix.lib(
        """builtins.concatMap (kind: builtins.concatMap (suffix:
          builtins.concatMap (code: map (target: [
            kind suffix code target (lib.runsOn { inherit kind suffix; capability = code; } target)
          ]) capabilities) capabilities) [ "" "a" "f" ]) [ "cubin" "ptx" ]""".replace(
            "capabilities",
            "(map (gpu: gpu.capability) (builtins.attrValues lib.hardware.gpus))",
        )
    )
    assert len(answers) == 2 * 3 * len(NUMBERS) ** 2
    number = {gpu.capability: gpu.number for gpu in gpus().values()}
    for kind, suffix, code, target, found in answers:
        assert found == runs_on(kind, number[code], suffix, number[target]), (kind, suffix, code, target)


def test_libs_own_tests(nix: Nix) -> None:
    """The check of the flake that evaluates lib/tests.nix."""
    assert nix.lib("lib.internal.failures") == []
