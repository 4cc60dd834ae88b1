"""Whose code runs on which GPU: NVIDIA's rule, in this one place. lib/runsOn.nix is the same in Nix.

CUDA C++ Programming Guide, "Compute Capability and Feature Set Compatibility"; for Tegra, CUDA for Tegra
Application Note, "CUDA Features Not Supported on Tegra".
"""

from collections.abc import Collection, Iterable, Sequence
from functools import cache
from typing import Literal, Protocol, TypeVar

from pytorch_variants.hardware.table import gpus

# Machine code; PTX; and what only a device linker reads: LTO-IR and relocatable machine code.
CodeKind = Literal["cubin", "ptx", "lto", "object"]


class Code(Protocol):
    """Code for one architecture, for 90 with suffix "a" if it is sm_90a."""

    @property
    def kind(self) -> CodeKind:
        """What code it is."""

    @property
    def arch(self) -> int:
        """The architecture's number: 90 for sm_90."""

    @property
    def suffix(self) -> str:
        """Nothing, or the letter of code for one architecture (a) or family (f) alone."""


C = TypeVar("C", bound=Code)


@cache
def _tegra() -> frozenset[int]:
    return frozenset(gpu.number for gpu in gpus().values() if gpu.tegra)


def runs_on(kind: CodeKind, arch: int, suffix: str, target: int) -> bool:
    """Whether a GPU (90 for compute capability 9.0) runs code of a kind, for an architecture with a suffix.

    A cubin runs on its own compute capability and on later minor ones of the same major one, but not
    between desktop and Tegra; PTX on its own and all later ones; with suffix "a" either runs on its own
    alone, with "f" on later minor ones of the same major one. What is for the device linker runs on none.
    """
    if kind in ("lto", "object"):
        return False
    if suffix == "a":
        return arch == target
    if kind == "ptx" and not suffix:
        return arch <= target
    same_line = kind == "ptx" or (arch in _tegra()) == (target in _tegra())
    return arch // 10 == target // 10 and arch <= target and same_line


def nearest_code(have: Iterable[int], target: int) -> int | None:
    """The architecture whose machine code a GPU runs: its own, else the latest earlier one that it runs."""
    return max((arch for arch in have if runs_on("cubin", arch, "", target)), default=None)


def select(entries: Sequence[C], targets: Collection[int], keep_ptx: bool = False) -> tuple[C, ...]:
    """Those of one kernel's codes that GPUs of these architectures (90 for sm_90) run.

    That is the code of the architecture itself. Where there is none, it is what the driver takes in its
    place: the latest cubin that runs there, else the latest PTX. (PyTorch 2.10's
    libtorch_cuda_linalg.so has no sm_75 code: a T4 runs the sm_70 code in it.) With `keep_ptx`, PTX of
    the architectures too.
    """
    chosen: set[tuple[str, int]] = set()
    for target in targets:
        running = [
            (entry.kind, entry.arch)
            for entry in entries
            if runs_on(entry.kind, entry.arch, entry.suffix, target)
        ]
        cubins = [code for code in running if code[0] == "cubin"]
        if running:
            chosen.add(max(cubins or running, key=lambda code: code[1]))
        if keep_ptx:
            chosen.add(("ptx", target))
    return tuple(entry for entry in entries if (entry.kind, entry.arch) in chosen)
