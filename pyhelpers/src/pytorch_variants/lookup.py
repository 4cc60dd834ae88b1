"""What a text is the name of: a GPU architecture, by number, product or generation, or an instruction set."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pytorch_variants.errors import UserError
from pytorch_variants.hardware import (
    Cpu,
    Gpu,
    cpus,
    find_product,
    generation,
    gpus,
    match_cpu,
    match_gpu,
    nearest,
    products,
    read_capability,
)
from pytorch_variants.names import variants


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


def _similar(product: str) -> tuple[str, ...]:
    def words(text: str) -> set[str]:
        return set(re.findall("[a-z]+|[0-9]+", text.lower()))

    return tuple(
        f"{other} ({gpu.name})"
        for other, gpu in products().items()
        if words(product) < words(other) and gpu != products()[product]
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


def find(text: str) -> Match:
    """The entry of the table that a text names.

    >>> find("Hopper").entry.name
    'sm90'

    Raises UserError, which names the candidates: all that an ambiguous text can mean, or the nearest.
    """
    cpu = match_cpu(text)
    gpu = None if cpu else _by_generation(text) or match_gpu(text)
    entry = cpu or gpu
    if entry is None:
        known = [*gpus(), *products(), *cpus(), *(gpu.architecture for gpu in gpus().values())]
        raise UserError(
            f'"{text}" is no GPU, product or instruction set in the hardware table; '
            f"nearest: {', '.join(nearest(text, known))}"
        )
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


def find_all(texts: Sequence[str]) -> list[Match]:
    """The entries that several texts name, or all of them together: "RTX", "4090".

    Raises UserError for the first that names nothing.
    """
    try:
        return [find(text) for text in texts]
    except UserError:
        whole = " ".join(texts)
        if len(texts) > 1 and match_gpu(whole):
            return [find(whole)]
        raise


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
