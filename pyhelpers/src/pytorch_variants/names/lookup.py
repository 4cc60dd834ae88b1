"""What a text is the name of: a GPU architecture, by number, product or generation, or an instruction set."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pytorch_variants.errors import UserError
from pytorch_variants.hardware.spelling import (
    find_product,
    match_cpu,
    match_gpu,
    read_capability,
    unknown_gpu,
)
from pytorch_variants.hardware.table import (
    Cpu,
    Gpu,
    cpus,
    generation,
    gpus,
    products,
)
from pytorch_variants.names.variant import variants


@dataclass(frozen=True)
class Match:
    """A text and what it names: `entry` of the table, by its `product` if that is what the text says.

    `similar` are products of other architectures with the same words in their names, `variants` the
    short names of the packages. Architecture-specific targets as sm90a have none.
    """

    text: str
    entry: Gpu | Cpu
    product: str | None
    notes: tuple[str, ...]
    similar: tuple[str, ...]
    variants: tuple[str, ...]


# Of how many words drivers make a name: "NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition".
_MOST_WORDS = 8

# What drivers and shops add to a product's name.
_TRADE_WORDS = re.compile(
    "(?<![a-z0-9])(?:nvidia|geforce|quadro|tesla|grid|gpu|laptop|mobile|generation|with|max-?q|design|founders"
    "|server|workstation|edition|pcie|nvl|sxm[0-9]*|hbm[0-9]*e?|gddr[0-9]*x?|[0-9]+ ?gb)(?![a-z0-9])"
)


def _words(text: str) -> list[str]:
    return re.findall("[a-z]+|[0-9]+", text.lower())


def _similar(product: str) -> tuple[str, ...]:
    words = set(_words(product))
    return tuple(
        f"{other} ({gpu.name})"
        for other, gpu in products().items()
        if words < set(_words(other)) and gpu != products()[product]
    )


def _by_generation(text: str) -> Gpu | None:
    members = [
        gpu
        for gpu in gpus().values()
        if text.strip().lower() in (gpu.architecture.lower(), generation(gpu).lower())
    ]
    if len(members) > 1:
        names = ", ".join(f"{gpu.name} ({', '.join(gpu.products[:2])})" for gpu in members)
        raise UserError(f'"{text}" is the architecture of several: {names}; write one of them')
    return members[0] if members else None


def _match(text: str) -> Match | None:
    cpu = match_cpu(text)
    gpu = None if cpu else _by_generation(text) or match_gpu(text)
    entry = cpu or gpu
    if entry is None:
        return None
    named = find_product(text) if gpu and read_capability(text) is None else None
    product = named[0] if named else None
    notes = gpu.notes if gpu else {}
    return Match(
        text=text,
        entry=entry,
        product=product,
        notes=tuple(f"{of}: {note}" for of, note in notes.items() if product in (None, of)),
        similar=_similar(product) if product else (),
        variants=tuple(
            variant.name for variant in variants() if entry == variant.cpu or entry in variant.gpus
        ),
    )


def lookup(text: str) -> Match:
    """The entry of the table that a text names.

    >>> lookup("Hopper").entry.name
    'sm90'

    Raises UserError, which names the candidates: all that an ambiguous text can mean, or the nearest.
    """
    match = _match(text)
    if match is None:
        known = [*gpus(), *products(), *cpus(), *(gpu.architecture for gpu in gpus().values())]
        raise unknown_gpu(text, "GPU, product or instruction set", known)
    return match


def _together(texts: Sequence[str]) -> Match | None:
    """What several texts are the name of, if none of their words is left over: "RTX", "4090", "Laptop"."""
    whole = " ".join(texts)
    text = " ".join(_TRADE_WORDS.sub(" ", whole.lower()).split())
    try:
        match = _match(text)
    except UserError:
        return None
    if match is None:
        return None
    if isinstance(match.entry, Gpu) and match.product:
        said = f"{match.product} {match.entry.architecture}"
        if Counter(_words(text)) - Counter(_words(said)):
            return None
    return replace(match, text=whole)


def find_all(texts: Sequence[str]) -> list[Match]:
    """The entries that texts name: each by itself, or those that are one name together.

    >>> [match.entry.name for match in find_all(["RTX", "4090", "Laptop", "GPU", "avx2"])]
    ['sm89', 'avx2']

    Raises UserError for the first that names nothing.
    """
    matches = []
    rest = list(texts)
    while rest:
        for count in range(min(len(rest), _MOST_WORDS), 0, -1):
            match = _together(rest[:count]) if count > 1 else lookup(rest[0])
            if match:
                matches.append(match)
                rest = rest[count:]
                break
    return matches


def to_json(matches: Sequence[Match]) -> dict[str, Any]:
    """The matches for machines; "schema" changes whenever a field changes its meaning."""
    return {
        "schema": 1,
        "results": [
            {
                "kind": "gpu" if isinstance(match.entry, Gpu) else "cpu",
                **asdict(match.entry),
                **{name: value for name, value in vars(match).items() if name != "entry"},
            }
            for match in matches
        ],
    }
