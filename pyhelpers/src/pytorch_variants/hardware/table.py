"""The GPU architectures and CPU instruction sets of hardware.toml, the table that Nix reads too."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Gpu:
    """A GPU architecture.

    `name` is the part of a package's name ("sm90", "sm90a"), `capability` the compute capability
    ("9.0"), `target` what nixpkgs and PyTorch are handed ("9.0", "9.0a", "9.0+PTX"). Version bounds are
    "major.minor" texts, None where support has not ended. `notes` has, by product, what people get wrong
    about it. `tegra`: it is part of NVIDIA's Tegra modules, which have drivers of their own.
    """

    name: str
    capability: str
    target: str
    architecture: str
    products: tuple[str, ...]
    platforms: tuple[str, ...]
    cuda_min: str
    cuda_max: str | None
    cudnn_max: str | None
    pytorch_min: str
    notes: Mapping[str, str] = field(hash=False)
    tegra: bool = False

    @property
    def number(self) -> int:
        """The capability as nvcc writes it: 90 for 9.0."""
        return int(self.capability.replace(".", ""))


@dataclass(frozen=True)
class Cpu:
    """A CPU instruction set: compiler flags, flags to switch off, what /proc/cpuinfo must list."""

    name: str
    title: str
    platforms: tuple[str, ...]
    flags: tuple[str, ...]
    disable: tuple[str, ...]
    without: tuple[str, ...]
    cpuinfo: tuple[str, ...]
    gcc_min: str
    first: tuple[str, ...]


@dataclass(frozen=True)
class Wheel:
    """A release of PyTorch ("2.10"), and what its official wheels with CUDA are.

    `cuda` is their CUDA release, `python_min` and `python_max` are the first and the last CPython that has
    one, `targets` the architectures that they have machine code for, by system.
    """

    release: str
    cuda: str
    python_min: str
    python_max: str
    targets: Mapping[str, tuple[str, ...]] = field(hash=False)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("hardware.toml").read_text(encoding="utf-8"))


@cache
def gpus() -> dict[str, Gpu]:
    """Every GPU architecture of the table by name, in the table's order."""
    return {
        name: Gpu(
            name=name,
            capability=entry["capability"],
            target=entry["capability"],
            architecture=entry["architecture"],
            products=tuple(entry["products"]),
            platforms=tuple(entry["platforms"]),
            cuda_min=entry["cuda"]["min"],
            cuda_max=entry["cuda"].get("max"),
            cudnn_max=entry.get("cudnn", {}).get("max"),
            pytorch_min=entry["pytorch"]["min"],
            notes=entry.get("notes", {}),
            tegra=entry.get("tegra", False),
        )
        for name, entry in _table()["gpu"].items()
    }


@cache
def cpus() -> dict[str, Cpu]:
    """Every CPU instruction set of the table by name, with what the sets that they extend bring."""

    def inherited(name: str, key: str) -> tuple[str, ...]:
        entry = _table()["cpu"][name]
        parent = inherited(entry["extends"], key) if "extends" in entry else ()
        return (*parent, *entry[key])

    return {
        name: Cpu(
            name=name,
            title=entry["title"],
            platforms=tuple(entry["platforms"]),
            flags=inherited(name, "flags"),
            disable=tuple(entry.get("disable", ())),
            without=tuple(entry.get("without", ())),
            cpuinfo=inherited(name, "cpuinfo"),
            gcc_min=entry["gcc"]["min"],
            first=tuple(entry["first"]),
        )
        for name, entry in _table()["cpu"].items()
    }


@cache
def wheels() -> dict[str, Wheel]:
    """PyTorch's official wheels with CUDA by release, the last one last."""
    return {
        release: Wheel(
            release=release,
            cuda=entry["cuda"],
            python_min=entry["python"]["min"],
            python_max=entry["python"]["max"],
            targets={system: tuple(targets) for system, targets in entry["targets"].items()},
        )
        for release, entry in _table()["wheel"].items()
    }


@dataclass(frozen=True)
class Maker:
    """A maker of GPUs that run no CUDA: a pattern for the words of their names, what to use for them."""

    name: str
    names: str
    instead: str


@cache
def makers() -> tuple[Maker, ...]:
    """Every such maker of the table, by name."""
    return tuple(Maker(**entry) for _, entry in sorted(_table()["maker"].items()))


def common_sets() -> tuple[str, ...]:
    """The names of the instruction sets to suggest where only a GPU is named, the first choice first."""
    return tuple(_table()["common"])


@cache
def products() -> dict[str, Gpu]:
    """The architecture of every product of the table."""
    return {product: gpu for gpu in gpus().values() for product in gpu.products}


@cache
def driver_floors() -> dict[str, str]:
    """The first Linux driver that runs the programs of each CUDA major: {"12": "525", ...}.

    Source: the CUDA Toolkit's release notes, minimum driver for minor version compatibility.
    """
    return {major: entry["driver"]["min"] for major, entry in _table()["cuda"].items()}


def generation(gpu: Gpu) -> str:
    """What people call its architecture: "Ada" for Ada Lovelace."""
    return gpu.architecture.split()[0]
