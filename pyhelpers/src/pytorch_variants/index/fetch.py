"""Wheels from the package registry that this machine's pip is configured for."""

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement

from pytorch_variants import pip
from pytorch_variants.errors import UserError


@dataclass(frozen=True)
class Found:
    """A wheel that pip would install: `sha256` is None where the registry does not say it."""

    url: str
    file: str
    sha256: str | None


def options(pythons: Sequence[str], platforms: Sequence[str]) -> list[list[str]]:
    """Pip's options for each of some Python versions ("3.12") on some platforms; else for this machine.

    Raises UserError for what is no such version.
    """
    for python in pythons:
        if not re.fullmatch(r"3\.[0-9]{1,2}", python, re.ASCII):
            raise UserError(f'"{python}" is no version of Python; write it as 3.12')
    minors = [int(python.removeprefix("3.")) for python in pythons]
    if platforms and not minors:
        minors = [sys.version_info.minor]
    return [pip.target(minor, platforms) for minor in minors] or [["--only-binary", ":all:"]]


def check(requirement: str) -> None:
    """Raise UserError for what is no requirement."""
    try:
        Requirement(requirement)
    except InvalidRequirement:
        raise UserError(
            f'"{requirement}" is no requirement; write it as torch==2.10.0, or the path of a .whl file'
        ) from None


def find(requirement: str, how: Sequence[str]) -> Found:
    """The wheel that pip chooses for a requirement; it fetches no more than it needs for that.

    Raises UserError with what pip says.
    """
    [item] = pip.chosen("--no-deps", *how, requirement)
    source = item["download_info"]
    return Found(
        url=source["url"],
        file=pip.file_name(source["url"]),
        sha256=source.get("archive_info", {}).get("hashes", {}).get("sha256"),
    )


def download(found: Found, directory: Path, how: Sequence[str]) -> Path:
    """Fetch a wheel; one that is there already, with this hash, stays. Raises UserError."""
    directory.mkdir(exist_ok=True)
    pinned = f"{found.url}#sha256={found.sha256}" if found.sha256 else found.url
    pip.run("download", "--quiet", "--no-deps", "--dest", str(directory), *how, pinned)
    return directory / found.file
