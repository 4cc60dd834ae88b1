"""Look up GPU architectures and CPU instruction sets in hardware.toml, the table that Nix reads too."""

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any

from pytorch_variants.errors import UserError

# The first compute capability with architecture- (a) and family-specific (f) code, by CUDA's rule.
_SUFFIX_FLOOR = {"": 0, "a": 90, "f": 100}


@dataclass(frozen=True)
class Gpu:
    """A GPU architecture.

    `name` is the part of a package's name ("sm90", "sm90a"), `capability` the compute capability
    ("9.0"), `target` what nixpkgs and PyTorch are handed ("9.0", "9.0a", "9.0+PTX"). Version bounds are
    "major.minor" texts, None where support has not ended. `notes` has, by product, what people get wrong
    about it.
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


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((files(__package__) / "hardware.toml").read_text(encoding="utf-8"))


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
def driver_floors() -> dict[str, str]:
    """The first Linux driver that runs the programs of each CUDA major: {"12": "525", ...}.

    Source: the CUDA Toolkit's release notes, minimum driver for minor version compatibility.
    """
    return {major: entry["driver"]["min"] for major, entry in _table()["cuda"].items()}


def version(text: str) -> tuple[int, ...]:
    """The numbers of a dotted version, to be compared: (570, 86, 15) of "570.86.15".

    Raises UserError for what is no such version.
    """
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}", text, re.ASCII):
        raise UserError(f'"{text}" is no version; write numbers with dots, as in 570.86.15')
    return tuple(int(part) for part in text.split("."))


def nearest(text: str, candidates: list[str], count: int = 3) -> list[str]:
    """The candidates that are spelled most like a text, nearest first."""
    by_lower = {candidate.lower(): candidate for candidate in reversed(candidates)}
    return [by_lower[match] for match in difflib.get_close_matches(text.lower(), by_lower, count, 0)]


def _words(text: str) -> str:
    """ " nvidia h 100 sxm 5 80 gb " of "NVIDIA H100-SXM5_80GB", as in lib/parseGpu.nix."""
    return f" {' '.join(re.findall('[a-z]+|[0-9]+', text.lower()))} "


def _mentions(text: str, part: str) -> bool:
    return _words(part) in _words(text)


def generation(gpu: Gpu) -> str:
    """What people call its architecture: "Ada" for Ada Lovelace."""
    return gpu.architecture.split()[0]


def find_product(text: str) -> tuple[str, Gpu] | None:
    """The product that a text names, and its architecture.

    >>> find_product("NVIDIA RTX 6000 Ada Generation")[0]
    'RTX 6000 Ada'

    None if it names none, or one of another generation than it says. Raises UserError if it names several.
    """
    generations = {name for name in map(generation, gpus().values()) if _mentions(text, name)}
    found = {
        product: gpu
        for gpu in gpus().values()
        for product in gpu.products
        if _mentions(text, product) and generations <= {generation(gpu)}
    }
    if not found:
        return None
    # "RTX 6000 Ada" is the longer name, so no "RTX 6000".
    longest = max(found, key=len)
    others = [
        product for product, gpu in found.items() if gpu != found[longest] and not _mentions(longest, product)
    ]
    if others:
        names = ", ".join(f"{product} ({found[product].name})" for product in (longest, *others))
        raise UserError(f'"{text}" names several: {names}; write one of them')
    return longest, found[longest]


def parse_gpu(text: str) -> Gpu:
    """Read a GPU architecture in any spelling that lib/parseGpu.nix reads.

    >>> parse_gpu("NVIDIA H100 80GB HBM3").target
    '9.0'
    >>> parse_gpu("sm_90a").name
    'sm90a'

    Raises UserError, which names the nearest candidates.
    """
    number = re.fullmatch(
        r"(?:(?:sm_?|compute_?)?([0-9]{2,3})|([0-9]{1,2})\.([0-9]))([af]?)(\+ptx)?",
        text.lower(),
        re.ASCII,
    )
    if number is None:
        product = find_product(text)
        found = product[1] if product else None
        suffix, ptx = "", None
    else:
        undotted, major, digit, suffix, ptx = number.groups()
        wanted = f"{undotted[:-1]}.{undotted[-1]}" if undotted else f"{major}.{digit}"
        found = next((gpu for gpu in gpus().values() if gpu.capability == wanted), None)
    if found is None:
        known = [*gpus(), *(product for gpu in gpus().values() for product in gpu.products)]
        raise UserError(
            f'"{text}" is no GPU architecture or product in the hardware table; '
            f"nearest: {', '.join(nearest(text, known))}"
        )
    if found.number < _SUFFIX_FLOOR[suffix]:
        floor = _SUFFIX_FLOOR[suffix]
        raise UserError(
            f'"{text}": only compute capability {floor // 10}.{floor % 10} and later have '
            f"{suffix}-specific code; write {found.name}"
        )
    return replace(
        found,
        name=found.name + suffix,
        target=found.capability + suffix + ("+PTX" if ptx else ""),
    )


def parse_cpu(text: str) -> Cpu:
    """Read a CPU instruction set in any spelling: "avx512", "AVX-512", "armv8.2".

    Raises UserError, which names the nearest candidates.
    """

    def bare(name: str) -> str:
        return re.sub("[-_. ]", "", name.lower())

    for cpu in cpus().values():
        if bare(cpu.name) == bare(text):
            return cpu
    raise UserError(
        f'"{text}" is no CPU instruction set in the hardware table; '
        f"nearest: {', '.join(nearest(text, list(cpus())))}"
    )
