"""The embedded package set's pins: which official wheels, by SHA-256.

The choice is pip's own: its resolver runs once per Python version, against the package registry that
the machine is configured for. No registry's address enters the file.
"""

import json
import re
import subprocess
import sys
import tempfile
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytorch_variants.errors import UserError
from pytorch_variants.files import read_json, replace_text
from pytorch_variants.pins import missing
from pytorch_variants.retarget.installed import architectures


def _pip(*arguments: str) -> str:
    if find_spec("pip") is None:
        raise missing("pip")
    result = subprocess.run(
        [sys.executable, "-m", "pip", *arguments], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise UserError(f"pip: {result.stderr.strip().splitlines()[-1]}")
    return result.stdout


def target(minor: int, platforms: Sequence[str]) -> list[str]:
    """Pip's options for CPython 3.<minor> on these platforms, whatever this machine is."""
    return [
        *("--only-binary", ":all:", "--python-version", f"3.{minor}", "--implementation", "cp"),
        *(option for abi in (f"cp3{minor}", "abi3", "none") for option in ("--abi", abi)),
        *(option for platform in platforms for option in ("--platform", platform)),
    ]


def _size(url: str) -> int:
    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request, timeout=60) as response:
        return int(response.headers["Content-Length"])


def _pin(item: Mapping[str, Any], installed: Sequence[str], minor: int) -> dict[str, Any]:
    environment = {"python_version": f"3.{minor}", "platform_machine": "x86_64", "extra": ""}
    requires = {
        canonicalize_name(requirement.name)
        for requirement in map(Requirement, item["metadata"].get("requires_dist", []))
        if requirement.marker is None or requirement.marker.evaluate(environment)
    }
    url = item["download_info"]["url"]
    return {
        "version": item["metadata"]["version"],
        "file": unquote(PurePosixPath(urlsplit(url).path).name),
        "sha256": item["download_info"]["archive_info"]["hashes"]["sha256"],
        "size": _size(url),
        "requires": sorted(requires & set(installed)),
    }


def _report(*arguments: str) -> dict[str, Mapping[str, Any]]:
    """What pip would install, by canonical name."""
    report = json.loads(
        _pip(
            *("install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"),
            *("--target", "unused", *arguments),
        )
    )
    return {canonicalize_name(item["metadata"]["name"]): item for item in report["install"]}


def resolve(
    requirements: Sequence[str], minor: int, platforms: Sequence[str], sources: Sequence[str] = ()
) -> dict[str, dict[str, Any]]:
    """Pin the requirements and all that they need for CPython 3.<minor> on the platforms, by canonical name.

    `sources` are projects that publish no wheel and need nothing else: their source is pinned. Each pin
    has the version, the file's name, its SHA-256 (hex), its size in bytes and the names of the pinned
    packages that it requires. Raises UserError with pip's own last line.
    """
    items = _report(*target(minor, platforms), *requirements)
    for source in sources:
        # Pip takes sources for its own Python alone, or without what they need:
        # https://github.com/pypa/pip/issues/11764
        items |= _report("--no-deps", "--no-binary", Requirement(source).name, source)
    return {name: _pin(items[name], list(items), minor) for name in sorted(items)}


def gpu_targets(torch_pin: Mapping[str, Any], minor: int, platforms: Sequence[str]) -> list[str]:
    """The dotted targets that a torch wheel has cubins of, read from its libraries."""
    with tempfile.TemporaryDirectory() as scratch:
        _pip(
            *("download", "--quiet", "--no-deps", "--dest", scratch),
            *(*target(minor, platforms), f"torch=={torch_pin['version']}"),
        )
        [wheel] = Path(scratch).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            for library in ("libtorch_cuda.so", "libtorch_python.so"):
                archive.extract(f"torch/lib/{library}", scratch)
        return [f"{arch // 10}.{arch % 10}" for arch in architectures(Path(scratch) / "torch")]


def _is_pin(pin: object) -> bool:
    match pin:
        case {"version": str(), "file": str(), "sha256": str(), "size": int(), "requires": list(requires)}:
            return all(isinstance(name, str) for name in requires)
    return False


def _is_environment(wheels: object) -> bool:
    return isinstance(wheels, dict) and "torch" in wheels and all(map(_is_pin, wheels.values()))


def _are_pins(data: object) -> bool:
    match data:
        case {
            "requirements": list(requirements),
            "sources": list(sources),
            "cuda": str(),
            "gpuTargets": list(),
            "platforms": list(platforms),
            "pythons": dict(pythons),
        }:
            return all(
                [
                    platforms,
                    pythons,
                    *(isinstance(text, str) for text in (*requirements, *sources, *platforms)),
                    *(re.fullmatch("python3[0-9]+", name) for name in pythons),
                    *(_is_environment(wheels) for wheels in pythons.values()),
                ]
            )
    return False


def read(path: Path) -> dict[str, Any]:
    """The pins that the file holds, each field of its type. Raises UserError if it does not, and OSError."""
    data = read_json(path)
    try:
        if _are_pins(data):
            for text in (*data["requirements"], *data["sources"]):
                Requirement(text)
            return dict(data)
        problem = "not the pins of wheels"
    except InvalidRequirement:
        problem = f"{text!r} is no requirement"
    raise UserError(f"{path}: {problem}; restore it (git checkout)")


def renewed(pins: Mapping[str, Any]) -> dict[str, Any]:
    """Pin anew what "requirements" and "sources" ask for. Needs the network.

    Raises UserError where pip cannot resolve them.
    """
    requirements, sources, platforms = pins["requirements"], pins["sources"], pins["platforms"]
    minors = [int(name.removeprefix("python3")) for name in pins["pythons"]]
    pythons = {f"python3{minor}": resolve(requirements, minor, platforms, sources) for minor in minors}
    first = minors[0]
    wheels, old = pythons[f"python3{first}"], pins["pythons"][f"python3{first}"]
    [runtime] = (name for name in wheels if re.fullmatch("nvidia-cuda-runtime(-cu12)?", name))
    # To read them takes the whole wheel.
    same = wheels["torch"]["sha256"] == old["torch"]["sha256"]
    return {
        "requirements": requirements,
        "sources": sources,
        "cuda": ".".join(wheels[runtime]["version"].split(".")[:2]),
        "gpuTargets": pins["gpuTargets"] if same else gpu_targets(wheels["torch"], first, platforms),
        "platforms": platforms,
        "pythons": pythons,
    }


def write(path: Path, pins: Mapping[str, Any]) -> None:
    """Give the file other pins; it holds the old ones or the new ones at any moment. Raises OSError."""
    replace_text(path, json.dumps(pins, indent=2) + "\n")
