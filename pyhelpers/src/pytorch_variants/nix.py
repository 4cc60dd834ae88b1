"""Nix, asked through its command line."""

import base64
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytorch_variants.errors import UserError

# The evaluation cache remembers that there was an error and not which.
OPTIONS = ("--extra-experimental-features", "nix-command flakes", "--option", "eval-cache", "false")
# In what the builder of a wheel says that it cannot have.
NOT_FETCHED = " could not be fetched: "
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def last_error(messages: str) -> str:
    """The line of Nix's messages that says what was wrong; a download's own words, where one failed."""
    messages = _COLOUR.sub("", messages)
    if download := re.search(rf"^.*> *(.*{NOT_FETCHED}.*)$", messages, re.MULTILINE):
        return download[1]
    errors = re.findall(r"^ *error: *(?:\n+ *)?(\S.*)$", messages, re.MULTILINE)
    return errors[-1] if errors else "nix failed and did not say why"


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one of Nix's programs to its end. Raises UserError where there is none."""
    try:
        return subprocess.run(
            [program, *arguments], capture_output=True, text=True, errors="replace", check=False
        )
    except FileNotFoundError:
        raise UserError(
            f"no {program} on PATH: install Nix 2.18 or later (https://nixos.org/download)"
        ) from None


def nix(*arguments: str, messages: bool = False) -> str:
    """Standard output of a nix command, or what it says on standard error.

    Raises UserError with the last line of Nix's error.
    """
    result = run("nix", *OPTIONS, *arguments)
    if result.returncode:
        raise UserError(last_error(result.stderr))
    return result.stderr if messages else result.stdout


def read_dry_run(messages: str) -> tuple[list[str], int, int, int]:
    """What `nix build --dry-run` says: derivations to build, the number of paths to fetch, their bytes.

    These are two numbers, of the download and of what it unpacks to.
    """
    units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
    paths = re.findall(r"^ +(/\S+)$", messages, re.MULTILINE)
    sizes = re.search(r"fetched \(([\d.]+) (.iB) download, ([\d.]+) (.iB) unpacked\)", messages)
    packed, unpacked = (
        (int(float(sizes[1]) * units[sizes[2]]), int(float(sizes[3]) * units[sizes[4]])) if sizes else (0, 0)
    )
    build = [path for path in paths if path.endswith(".drv")]
    return build, len(paths) - len(build), packed, unpacked


def _quoted(text: str) -> str:
    return '"' + re.sub(r'["\\$]', r"\\\g<0>", text) + '"'


def evaluate(function: str, **arguments: str) -> Any:
    """The value of a Nix function, called with texts. Raises UserError."""
    texts = " ".join(f"{name} = {_quoted(value)};" for name, value in arguments.items())
    return json.loads(nix("eval", "--json", "--impure", "--expr", f"({function}) {{ {texts} }}"))


# This flake's own package sets, directories of pkgs: the official wheels, and PyTorch compiled.
OWN_SETS = ("embedded", "source")


def package_set(name: str, flake: Path) -> Path | None:
    """The directory of a package set: a flake's own or the path of a nixpkgs; None for "locked".

    Raises UserError where there is none.
    """
    if name == "locked":
        return None
    path = flake / "pkgs" / name if name in OWN_SETS else Path(name)
    # A clone of this flake has a default.nix too, for people without flakes.
    if not name or not (path / "default.nix").is_file() or path.resolve() == flake.resolve():
        raise UserError(
            f"--nixpkgs {name}: no nixpkgs there: write locked, embedded, source or the path of a nixpkgs"
        )
    return path


def store(*arguments: str) -> list[str]:
    """The lines that nix-store prints. Raises UserError."""
    result = run("nix-store", *arguments)
    if result.returncode:
        raise UserError(last_error(result.stderr))
    return result.stdout.splitlines()


def is_sri(text: object) -> bool:
    """Whether it is a SHA-256 of 32 bytes in SRI form, the only one that Nix writes into a lock."""
    if not isinstance(text, str) or not text.startswith("sha256-"):
        return False
    try:
        return len(base64.b64decode(text.removeprefix("sha256-"), validate=True)) == 32
    except ValueError:
        return False


def fixed_path(name: str, nar_hash: object) -> Path:
    """The store path of a tree with this SHA-256 (SRI), whether it is there or not. Raises UserError."""
    if not is_sri(nar_hash):
        raise UserError(f"{nar_hash}: not a SHA-256 in SRI form, which begins with sha256-")
    [path] = store("--print-fixed-path", "--recursive", "sha256", str(nar_hash), name)
    return Path(path)


def closure(derivation: str) -> set[str]:
    """Every derivation that one needs to be built, itself among them."""
    return {path for path in store("--query", "--requisites", derivation) if path.endswith(".drv")}


def rebuilt(derivation: str, stock: str) -> set[str]:
    """The derivations that one needs and another does not, so that a cache of the other lacks them."""
    return closure(derivation) - closure(stock)


@dataclass(frozen=True)
class Derivation:
    """What is read of a derivation: store paths in full, and the attributes that its builder sees.

    `fixed` says whether the hash of its output is known beforehand, as that of a download is.
    """

    fixed: bool
    inputs: frozenset[str]
    outputs: frozenset[str]
    attributes: Mapping[str, Any]


def _in_store(path: str) -> str:
    return path if path.startswith("/") else f"/nix/store/{path}"


def _derivation(shown: Mapping[str, Any]) -> Derivation:
    inputs = shown["inputDrvs"] if "inputDrvs" in shown else shown["inputs"]["drvs"]
    attributes = shown.get("structuredAttrs") or shown["env"]
    if "__json" in attributes:
        attributes = json.loads(attributes["__json"])
    outputs = shown["outputs"].values()
    return Derivation(
        fixed=any("hash" in output for output in outputs),
        inputs=frozenset(map(_in_store, inputs)),
        outputs=frozenset(_in_store(output["path"]) for output in outputs if "path" in output),
        attributes=attributes,
    )


def derivations(*roots: str, needed: bool = True) -> dict[str, Derivation]:
    """Derivations by path, with all that they need or alone. Raises UserError."""
    recursive = ("--recursive",) if needed else ()
    shown = json.loads(nix("derivation", "show", *recursive, *roots))
    # Later releases of Nix say which form this is, and leave the store's directory out.
    shown = shown.get("derivations", shown)
    return {_in_store(path): _derivation(derivation) for path, derivation in shown.items()}
