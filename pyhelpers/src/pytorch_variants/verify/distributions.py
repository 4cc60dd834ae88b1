"""Installed distributions: what their .dist-info says of them, and whose a file is.

The formats are those of the Python Packaging User Guide, "Core metadata" and "Recording installed projects".
What is read of a file is bounded: METADATA has a description of any length, and anybody can write either.
"""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cached_property
from pathlib import Path, PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytorch_variants.retarget.nvidia import read_distribution as declared

# The largest METADATA in wide use has headers of some 20 kB (a requirement a line), the largest RECORD 4 MB.
_MOST_HEADERS = 1 << 20
_MOST_RECORD = 1 << 26


@dataclass(frozen=True)
class Row:
    """A line of RECORD: a path relative to site-packages, "sha256=…" and a size, each empty if not given."""

    path: str
    digest: str
    size: str


@dataclass(frozen=True)
class Distribution:
    """One distribution that is installed; `name` is in its canonical spelling.

    `rows` is None where there is no RECORD, as from conda or Debian. `problem` says in a line what is
    wrong with these files themselves.
    """

    directory: Path
    name: str
    version: str
    requires: tuple[Requirement, ...]
    rows: tuple[Row, ...] | None
    nvidia: bool
    problem: str = ""

    def requirements(self, environment: Mapping[str, str]) -> Iterator[Requirement]:
        """What it requires without extras on a machine and Python with these markers."""
        for requirement in self.requires:
            marker = requirement.marker
            if marker is None or marker.evaluate({**environment, "extra": ""}):
                yield requirement

    @cached_property
    def top_level(self) -> frozenset[str]:
        """The names right below site-packages that are its own, as files tell."""
        rows = self.rows if self.rows is not None else ()
        names = {
            PurePosixPath(row.path).parts[0] for row in rows if row.path and not row.path.startswith("/")
        }
        listed = _read(self.directory / "top_level.txt", _MOST_HEADERS).split() if self.rows is None else []
        found = {*names, *listed} - {"..", "__pycache__", self.directory.name}
        # An editable installation lists a .pth file alone.
        return frozenset(found | {self.name.replace("-", "_")})


def _read(path: Path, most: int) -> str:
    try:
        # What is no file could keep whoever opens it waiting.
        if not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(most).decode("utf-8", "replace")
    except OSError:
        return ""


def _rows(path: Path) -> tuple[tuple[Row, ...] | None, str]:
    """The lines of a RECORD, None where there is none, and what is wrong with it."""
    if not path.is_file():
        return None, ""
    text = _read(path, _MOST_RECORD + 1)
    if len(text) > _MOST_RECORD:
        return (), f"RECORD has more than {_MOST_RECORD >> 20} MB"
    rows = []
    try:
        for line in csv.reader(text.splitlines()):
            if line:
                rows.append(Row(*[*line, "", ""][:3]))
    except csv.Error as error:
        return (), f"RECORD is no CSV: {error}"
    return tuple(rows), ""


def _requirements(texts: Sequence[str]) -> Iterator[Requirement]:
    for text in texts:
        try:
            yield Requirement(text)
        except InvalidRequirement:
            continue  # Old ones have spellings that pip no longer reads; it does not install them either.


def read_distribution(directory: Path) -> Distribution:
    """Read a .dist-info directory."""
    whole = _read(directory / "METADATA", _MOST_HEADERS)
    head, separator, _ = whole.partition("\n\n")
    problem = ""
    if not separator and len(whole) >= _MOST_HEADERS:
        problem = f"METADATA has headers of more than {_MOST_HEADERS >> 20} MB"
        head = ""
    message = HeaderParser().parsestr(head)
    named, _, version = directory.name.removesuffix(".dist-info").partition("-")
    rows, wrong = _rows(directory / "RECORD")
    name = canonicalize_name(str(message.get("Name") or named))
    return Distribution(
        directory=directory,
        name=name,
        version=str(message.get("Version") or version),
        requires=tuple(_requirements([str(text) for text in message.get_all("Requires-Dist") or ()])),
        rows=rows,
        nvidia=declared(head.encode()).nvidia,
        problem=problem or wrong,
    )


@dataclass(frozen=True)
class Distributions:
    """All of one site-packages."""

    site: Path
    all: tuple[Distribution, ...]

    @cached_property
    def _owners(self) -> dict[str, Distribution]:
        return {row.path: found for found in self.all for row in found.rows or ()}

    @cached_property
    def _owners_by_name(self) -> dict[str, Distribution]:
        return {name: found for found in self.all for name in found.top_level}

    def listed(self, path: Path) -> Distribution | None:
        """The distribution whose RECORD has a file; without a RECORD, whose package it is in."""
        found = self.owner(path)
        if found and found.rows is not None and found is not self._owners.get(self._name(path)):
            return None
        return found

    def _name(self, path: Path) -> str:
        return path.relative_to(self.site).as_posix()

    def owner(self, path: Path) -> Distribution | None:
        """Whose a file below site-packages is: by RECORD, else by the name of its package."""
        if not path.is_relative_to(self.site):
            return None
        name = path.relative_to(self.site)
        return self._owners.get(name.as_posix()) or self._owners_by_name.get(name.parts[0])

    def named(self, name: str) -> tuple[Distribution, ...]:
        """Those of this canonical name: more than one where one was installed over another."""
        return tuple(found for found in self.all if found.name == name)

    def built_on(self, name: str, environment: Mapping[str, str]) -> frozenset[str]:
        """The canonical names of those that require this one, or require one that does."""
        requires = {
            found.name: {canonicalize_name(r.name) for r in found.requirements(environment)}
            for found in self.all
        }
        built: set[str] = set()
        while True:
            more = {other for other, needs in requires.items() if needs & {name, *built}} - built - {name}
            if not more:
                return frozenset(built)
            built |= more


def read_distributions(site: Path) -> Distributions:
    """Read every .dist-info below a site-packages."""
    try:
        names = sorted(name for name in os.listdir(site) if name.endswith(".dist-info"))  # noqa: PTH208
    except OSError:
        names = []
    return Distributions(site, tuple(read_distribution(site / name) for name in names))
