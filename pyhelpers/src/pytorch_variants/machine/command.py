"""What to type for a variant, where it is typed: in a clone, with Nix anywhere, or without Nix."""

import json
import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytorch_variants.hardware.spelling import version
from pytorch_variants.hardware.table import Cpu, Gpu, driver_floors

FLAKE = "github:pytorch-variants/pytorch-variants"

# The last PyTorch whose wheel of the package registry is built with CUDA 12.
_LAST_CUDA_12 = "2.10"
# Flakes have attributes for names of as many GPUs.
_MOST_GPUS = 3


@dataclass(frozen=True)
class Place:
    """Where a command is to be typed: a clone with `flake`'s ./run, with Nix and a flake, or without Nix."""

    kind: Literal["clone", "nix", "wheel"] = "nix"
    flake: str = "."


HERE = Place()


def find_place(flake: Path = Path()) -> Place:
    """The place of this process: `flake` is a clone's directory, if there is one."""
    if (flake / "run").is_file() and (flake / "flake.nix").is_file():
        way = os.path.relpath(flake)
        return Place("clone", f"{way}/run" if way.startswith("..") else f"./{way}/run".replace("/./", "/"))
    if shutil.which("nix"):
        return Place("nix", FLAKE)
    return Place("wheel")


def _wheel(chosen: Sequence[Gpu], driver: str | None) -> str:
    """The official wheel, cut down, and of the last CUDA that all of these GPUs and the driver run."""
    if not chosen:
        return "uv pip install torch --torch-backend cpu"
    floor = version(driver_floors()["13"])
    old = (driver is not None and version(driver) < floor) or any(
        gpu.cuda_max and version(gpu.cuda_max) < (13,) for gpu in chosen
    )
    torch = f"'torch=={_LAST_CUDA_12}.*'" if old else "torch"
    names = ",".join(f"sm{gpu.number}" for gpu in chosen)
    return (
        f"pip download --no-deps {torch} && pytorch-variants retarget torch-*.whl --gpu {names} --compatible"
    )


def command(place: Place, name: str, chosen: Sequence[Gpu], cpu: Cpu, driver: str | None) -> str:
    """One line for a shell that makes the variant of a name, for some GPUs and a CPU."""
    if place.kind == "wheel":
        return _wheel(chosen, driver)
    if any(gpu.target != gpu.capability for gpu in chosen):
        # No name says so.
        targets = " ".join(json.dumps(gpu.target) for gpu in chosen)
        made = f'mkPytorchVariant {{ gpuTargets = [ {targets} ]; cpu = "{cpu.name}"; }}'
    elif place.kind == "clone":
        return f"{shlex.quote(place.flake)} build {name}"
    elif len(chosen) <= _MOST_GPUS:
        return f"nix build {place.flake}#{name}"
    else:
        made = f'named "{name}"'
    flake = f'"{place.flake}"' if ":" in place.flake else "(toString ./.)"
    packages = f"(builtins.getFlake {flake}).legacyPackages.${{builtins.currentSystem}}"
    return f"nix build --impure --expr '{packages}.{made}'"
