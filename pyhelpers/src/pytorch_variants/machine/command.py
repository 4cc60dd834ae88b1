"""What to type for a variant, where it is typed: in a clone, with Nix anywhere, or without Nix."""

import json
import os
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytorch_variants.hardware.table import Cpu, Gpu
from pytorch_variants.machine.official import Official, requirement

FLAKE = "github:pytorch-variants/pytorch-variants"

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


def _wheel(wheels: Sequence[Official]) -> str | None:
    """The official wheel, cut down, where there is one that all of the machine's GPUs run."""
    if not wheels:
        return "uv pip install torch --torch-backend cpu"
    first, *others = wheels
    if others or not first.torch:
        return None
    return (
        f"pip download --no-deps {requirement(first.torch)} && "
        f"pytorch-variants retarget torch-*.whl --gpu {','.join(first.gpus)} --compatible"
    )


def command(
    place: Place, name: str, chosen: Sequence[Gpu], cpu: Cpu, wheels: Sequence[Official]
) -> str | None:
    """One line for a shell that makes the variant of a name, for some GPUs and a CPU.

    `wheels` are the official ones for these GPUs. None where those are all that there is, and none will do.
    """
    if place.kind == "wheel":
        return _wheel(wheels)
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
