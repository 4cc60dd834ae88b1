"""Look up GPU architectures and CPU instruction sets in hardware.toml, the table that Nix reads too."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
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

    @property
    def is_jetson(self) -> bool:
        """Whether it is a part of NVIDIA's modules, whose GPUs run no other's code and have other drivers."""
        return any(product.startswith("Jetson") for product in self.products)


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


def nearest_code(have: Iterable[int], arch: int) -> int | None:
    """The architecture whose code a GPU runs: its own, else the latest earlier one of its major capability.

    CUDA C++ Programming Guide, "Binary Compatibility".
    """
    return max((other for other in have if other // 10 == arch // 10 and other <= arch), default=None)


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


def version(text: str) -> tuple[int, ...]:
    """The numbers of a dotted version, to be compared: (570, 86, 15) of "570.86.15".

    Raises UserError for what is no such version.
    """
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6}){0,3}", text, re.ASCII):
        raise UserError(f'"{text}" is no version; write numbers with dots, as in 570.86.15')
    return tuple(int(part) for part in text.split("."))


def _words(text: str) -> str:
    """The words of a text, as in lib/parseGpu.nix: "NVIDIA H100_80GB" becomes " nvidia h 100 80 gb "."""
    return f" {' '.join(re.findall('[a-z]+|[0-9]+', text.lower()))} "


def _mentions(text: str, part: str) -> bool:
    return _words(part) in _words(text)


def nearest(text: str, candidates: Sequence[str], count: int = 3) -> list[str]:
    """The candidates of which a text is a part, shortest first, then those that are spelled most like it."""
    parts = sorted((candidate for candidate in candidates if _mentions(candidate, text)), key=len)
    by_lower = {candidate.lower(): candidate for candidate in reversed(candidates)}
    alike = difflib.get_close_matches(text.lower(), by_lower, count, 0)
    return list(dict.fromkeys([*parts, *(by_lower[name] for name in alike)]))[:count]


def generation(gpu: Gpu) -> str:
    """What people call its architecture: "Ada" for Ada Lovelace."""
    return gpu.architecture.split()[0]


@cache
def _marks(product: str) -> frozenset[str]:
    """The words that tell the products of a series apart, as "ti" and "super" those of RTX.

    Whether "Ada" is right says its generation.
    """
    named = [_words(other).split() for other in products()]
    generations = {generation(gpu).lower() for gpu in gpus().values()}
    ends = {words[-1] for words in named if words[0] == _words(product).split()[0]}
    return frozenset(end for end in ends - generations if end.isalpha())


def find_product(text: str) -> tuple[str, Gpu] | None:
    """The product that a text names, and its architecture.

    >>> find_product("NVIDIA RTX 6000 Ada Generation")[0]
    'RTX 6000 Ada'
    >>> find_product("4090")[0]
    'RTX 4090'

    None if it names none, one of another generation than it says, or one that the table lacks: "RTX 4090 Ti"
    is no RTX 4090. Raises UserError if it names several.
    """
    generations = {name for name in map(generation, gpus().values()) if _mentions(text, name)}
    possible = {product: gpu for product, gpu in products().items() if generations <= {generation(gpu)}}
    # "RTX 6000 Ada" is the longer name, so no "RTX 6000".
    found = sorted((product for product in possible if _mentions(text, product)), key=len, reverse=True)
    if not found and re.match(" [0-9]{4} ", _words(text)):
        # Four digits are no compute capability: "4090" is an "RTX 4090" and an "RTX 4090 D".
        found = sorted((product for product in possible if _mentions(product, text)), key=len)
    if not found or any(_mentions(text, f"{found[0]} {mark}") for mark in _marks(found[0])):
        return None
    meant = found[0]
    others = [
        product for product in found if possible[product] != possible[meant] and not _mentions(meant, product)
    ]
    if others:
        names = ", ".join(f"{product} ({possible[product].name})" for product in (meant, *others))
        raise UserError(f'"{text}" names several: {names}; write one of them')
    return meant, possible[meant]


def read_capability(text: str) -> tuple[str, str] | None:
    """The compute capability that a text writes as a number, and its suffix, whether the table has it or not.

    >>> read_capability("sm_90a")
    ('9.0', 'a')
    """
    number = re.fullmatch(
        r"(?:(?:sm_?|compute_?)?([0-9]{1,2})([0-9])|([0-9]{1,2})\.([0-9]))([af]?)(\+ptx)?",
        text.lower(),
        re.ASCII,
    )
    if number is None:
        return None
    major, minor = number[1] or number[3], number[2] or number[4]
    return f"{major}.{minor}", number[5] + ("+PTX" if number[6] else "")


def match_gpu(text: str) -> Gpu | None:
    """As `parse_gpu`, and None for what is in no spelling a GPU of the table."""
    number = read_capability(text)
    if number is None:
        product = find_product(text)
        return product[1] if product else None
    capability, suffix = number
    gpu = next((gpu for gpu in gpus().values() if gpu.capability == capability), None)
    if gpu is None:
        return None
    specific = suffix.removesuffix("+PTX")
    floor = _SUFFIX_FLOOR[specific]
    if gpu.number < floor:
        raise UserError(
            f'"{text}": only compute capability {floor // 10}.{floor % 10} and later have '
            f"{specific}-specific code; write {gpu.name}"
        )
    return replace(gpu, name=gpu.name + specific, target=gpu.capability + suffix)


def parse_gpu(text: str) -> Gpu:
    """Read a GPU architecture in any spelling that lib/parseGpu.nix reads.

    >>> parse_gpu("NVIDIA H100 80GB HBM3").target
    '9.0'
    >>> parse_gpu("sm_90a").name
    'sm90a'

    Raises UserError, which names the nearest candidates, or all that the text could mean.
    """
    gpu = match_gpu(text)
    if gpu is None:
        raise UserError(
            f'"{text}" is no GPU architecture or product in the hardware table; '
            f"nearest: {', '.join(nearest(text, [*gpus(), *products()]))}"
        )
    return gpu


def match_cpu(text: str) -> Cpu | None:
    """As `parse_cpu`, and None for what is in no spelling an instruction set of the table."""

    def bare(name: str) -> str:
        return re.sub("[-_. ]", "", name.lower())

    return next((cpu for cpu in cpus().values() if bare(cpu.name) == bare(text)), None)


def parse_cpu(text: str) -> Cpu:
    """Read a CPU instruction set in any spelling: "avx512", "AVX-512", "armv8.2".

    Raises UserError, which names the nearest candidates.
    """
    cpu = match_cpu(text)
    if cpu is None:
        raise UserError(
            f'"{text}" is no CPU instruction set in the hardware table; '
            f"nearest: {', '.join(nearest(text, list(cpus())))}"
        )
    return cpu
