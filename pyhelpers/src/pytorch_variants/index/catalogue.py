"""What an index has, in its file wheels.json: each wheel with its hashes, and what it was made of."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pytorch_variants.errors import UserError
from pytorch_variants.files import read_json, write_text

CATALOGUE = "wheels.json"


@dataclass(frozen=True)
class File:
    """A file of the index by its path in there. `metadata` is the SHA-256 of the METADATA beside it."""

    path: str
    size: int
    sha256: str
    metadata: str


@dataclass(frozen=True)
class Wheel:
    """One package's wheels for one GPU, which is a number, 90 for sm_90.

    `cuda` is the CUDA release whose driver it needs, as "12", or empty; `plain` is the wheel for pip.
    """

    package: str
    version: str
    gpu: int
    cuda: str
    requires_python: str
    source: str
    source_size: int
    source_sha256: str
    plain: File
    variant: File


def _is_there(directory: Path, file: File) -> bool:
    path = directory / file.path
    return path.is_file() and path.stat().st_size == file.size


def read_catalogue(directory: Path) -> list[Wheel]:
    """The wheels that an index has; those whose files have gone are no longer in it. Raises UserError."""
    path = directory / CATALOGUE
    if not path.exists():
        return []
    try:
        wheels = [
            Wheel(**{**wheel, "plain": File(**wheel["plain"]), "variant": File(**wheel["variant"])})
            for wheel in read_json(path)["wheels"]
        ]
    except (KeyError, TypeError) as error:
        raise UserError(
            f"{path}: not the catalogue of an index; remove it, and the wheels are made anew"
        ) from error
    return [
        wheel for wheel in wheels if all(_is_there(directory, file) for file in (wheel.plain, wheel.variant))
    ]


def write_catalogue(directory: Path, wheels: Sequence[Wheel]) -> None:
    """Write it anew, at once."""
    write_text(
        directory / CATALOGUE,
        json.dumps({"schema": 1, "wheels": [asdict(wheel) for wheel in wheels]}, indent=1) + "\n",
    )
