"""What pip finds in the package registry that this machine is configured for, and fetches from it."""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from pytorch_variants.errors import UserError


def run(*arguments: str) -> str:
    """What pip prints. Raises UserError with the line of its last error."""
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


def chosen(*arguments: str) -> list[Mapping[str, Any]]:
    """What pip would install, an entry of its report for each; it fetches no more than it needs for that.

    Raises UserError as `run`.
    """
    report = run(
        *("install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"),
        *("--target", "unused", *arguments),
    )
    return list(json.loads(report)["install"])


def file_name(url: str) -> str:
    """The name of the file that an address leads to."""
    return unquote(PurePosixPath(urlsplit(url).path).name)


def target(minor: int, platforms: Sequence[str]) -> list[str]:
    """Pip's options for CPython 3.<minor> on these platforms, whatever this machine is."""
    return [
        *("--only-binary", ":all:", "--python-version", f"3.{minor}", "--implementation", "cp"),
        *(option for abi in (f"cp3{minor}", "abi3", "none") for option in ("--abi", abi)),
        *(option for platform in platforms for option in ("--platform", platform)),
    ]
