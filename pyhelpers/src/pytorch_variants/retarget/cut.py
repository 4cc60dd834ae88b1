"""What retargeting took out on purpose, kept beside the package for whoever verifies it.

PACKAGE/retargeted.json says for each library how many containers of GPU code it has, and of those that the
wanted GPUs have no machine code in, what was there before:

    {"schema": 1, "libraries": {"lib/libtorch_cuda.so": {
        "containers": 456, "emptied": {"17": ["sm_100a"]}, "ptx": {"20": ["sm_70"]}}}}

A container's number is its place in the file's order. "emptied" ones are left without an entry, "ptx" ones
with PTX alone.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pytorch_variants.errors import UserError

FILE = "retargeted.json"
_SCHEMA = 1
_MOST = 16 << 20  # bytes


@dataclass(frozen=True)
class Cut:
    """One library. `emptied` and `ptx` have, by a container's number, the machine code that it had."""

    containers: int
    emptied: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    ptx: Mapping[int, tuple[str, ...]] = field(default_factory=dict)

    @property
    def says_something(self) -> bool:
        """Whether any container has lost what it had."""
        return bool(self.emptied or self.ptx)


def merged(old: Cut | None, new: Cut) -> Cut:
    """What two retargetings, one after the other, took out of the same library."""
    if old is None or old.containers != new.containers:
        return new
    emptied = {**new.emptied, **old.emptied}
    for number in new.emptied:
        # What it had before the first of them, if that left PTX alone.
        emptied[number] = old.emptied.get(number) or old.ptx.get(number) or new.emptied[number]
    ptx = {number: codes for number, codes in {**new.ptx, **old.ptx}.items() if number not in emptied}
    return Cut(new.containers, emptied, ptx)


def with_new(old: Mapping[str, Cut], new: Mapping[str, Cut]) -> dict[str, Cut]:
    """All that is known of a package's libraries once some were retargeted; those that say nothing go."""
    cuts = {**old, **{name: merged(old.get(name), cut) for name, cut in new.items()}}
    return {name: cut for name, cut in cuts.items() if cut.says_something}


def to_text(cuts: Mapping[str, Cut]) -> str:
    """The file, for libraries by their paths below the package."""

    def numbered(codes: Mapping[int, tuple[str, ...]]) -> dict[str, list[str]]:
        return {str(number): list(codes[number]) for number in sorted(codes)}

    libraries = {
        name: {"containers": cut.containers, "emptied": numbered(cut.emptied), "ptx": numbered(cut.ptx)}
        for name, cut in sorted(cuts.items())
    }
    return json.dumps({"schema": _SCHEMA, "libraries": libraries}, indent=1) + "\n"


def _codes(value: Any) -> dict[int, tuple[str, ...]]:
    if not isinstance(value, dict):
        raise TypeError
    return {int(number): tuple(str(name) for name in names) for number, names in value.items()}


def from_text(text: bytes, where: str) -> dict[str, Cut]:
    """The libraries of such a file. Raises UserError where it is none."""
    try:
        data = json.loads(text)
        if data["schema"] != _SCHEMA:
            raise UserError(f"{where}: its schema is {data['schema']!r}, which this version does not know")
        return {
            str(name): Cut(int(value["containers"]), _codes(value["emptied"]), _codes(value["ptx"]))
            for name, value in data["libraries"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{where}: not what retarget writes; install the package again") from error


def read_cuts(package: Path) -> dict[str, Cut]:
    """What was taken out of an installed package; nothing if it was not retargeted. Raises UserError."""
    path = package / FILE
    try:
        if not path.is_file():
            return {}
        with path.open("rb") as file:
            text = file.read(_MOST + 1)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    if len(text) > _MOST:
        raise UserError(f"{path}: more than {_MOST} bytes; install the package again")
    return from_text(text, str(path))


def cuts_of(site: Path, packages: Iterable[str]) -> dict[str, Cut]:
    """What was taken out of some packages, by libraries' paths below site-packages. Raises UserError."""
    return {
        str(PurePosixPath(package) / name): cut
        for package in packages
        for name, cut in read_cuts(site / package).items()
    }
