"""Wheels from the package registry that this machine's pip is configured for."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from pytorch_variants.errors import UserError
from pytorch_variants.pins.wheels import target


@dataclass(frozen=True)
class Found:
    """A wheel that pip would install: `sha256` is None where the registry does not say it."""

    url: str
    file: str
    sha256: str | None


def _pip(*arguments: str) -> str:
    # uvx and uv's environments come without one.
    command = [sys.executable, "-m", "pip"] if find_spec("pip") else [shutil.which("pip") or ""]
    if not command[0]:
        raise UserError(
            "no pip here to fetch wheels with: install it, or write the path of a wheel that you have"
        )
    result = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR: ")]
        raise UserError(f"pip: {(errors or result.stderr.strip().splitlines())[-1].removeprefix('ERROR: ')}")
    return result.stdout


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
    return [target(minor, platforms) for minor in minors] or [["--only-binary", ":all:"]]


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
    report = _pip(
        *("install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--report", "-"),
        *("--target", "unused", *how, requirement),
    )
    [item] = json.loads(report)["install"]
    source = item["download_info"]
    return Found(
        url=source["url"],
        file=unquote(PurePosixPath(urlsplit(source["url"]).path).name),
        sha256=source.get("archive_info", {}).get("hashes", {}).get("sha256"),
    )


def download(found: Found, directory: Path, how: Sequence[str]) -> Path:
    """Fetch a wheel; one that is there already, with this hash, stays. Raises UserError."""
    directory.mkdir(exist_ok=True)
    pinned = f"{found.url}#sha256={found.sha256}" if found.sha256 else found.url
    _pip("download", "--quiet", "--no-deps", "--dest", str(directory), *how, pinned)
    return directory / found.file
