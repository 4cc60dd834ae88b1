"""The embedded package set's pins: which official wheels, by SHA-256.

The choice is pip's own: its resolver runs once per release of PyTorch and Python version, against the package
registry that the machine is configured for. No registry's address enters the file.
"""

import json
import re
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from pytorch_variants import pip
from pytorch_variants.errors import UserError
from pytorch_variants.files import read_json, replace_text
from pytorch_variants.pins import missing
from pytorch_variants.retarget.installed import architectures


def tags(pins: Mapping[str, Any], machine: str) -> list[str]:
    """The platforms of the wheels that may be taken for a machine ("aarch64")."""
    return [f"{platform}_{machine}" for platform in pins["platforms"]]


def _size(url: str) -> int:
    request = urllib.request.Request(url, method="HEAD")
    with urllib.request.urlopen(request, timeout=60) as response:
        return int(response.headers["Content-Length"])


def _requires(items: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str]) -> dict[str, set[str]]:
    """What each of the packages that pip chose needs of the others, by the extras that are asked of it."""
    extras = {name: {""} for name in items}
    while True:
        before = {name: set(asked) for name, asked in extras.items()}
        needed: dict[str, set[str]] = {name: set() for name in items}
        for name, item in items.items():
            for requirement in map(Requirement, item["metadata"].get("requires_dist", [])):
                other = canonicalize_name(requirement.name)
                marker = requirement.marker
                if other in items and (
                    marker is None
                    or any(marker.evaluate({**environment, "extra": extra}) for extra in before[name])
                ):
                    needed[name].add(other)
                    extras[other] |= requirement.extras
        if extras == before:
            return needed


def _pin(item: Mapping[str, Any], requires: Iterable[str]) -> dict[str, Any]:
    url = item["download_info"]["url"]
    return {
        "version": item["metadata"]["version"],
        "file": pip.file_name(url),
        "sha256": item["download_info"]["archive_info"]["hashes"]["sha256"],
        "size": _size(url),
        "requires": sorted(requires),
    }


def _report(*arguments: str) -> dict[str, Mapping[str, Any]]:
    """What pip would install, by canonical name."""
    if find_spec("pip") is None:
        raise missing("pip")
    return {canonicalize_name(item["metadata"]["name"]): item for item in pip.chosen(*arguments)}


def resolve(
    requirements: Sequence[str],
    minor: int,
    machine: str,
    platforms: Sequence[str],
    sources: Sequence[str] = (),
) -> dict[str, dict[str, Any]]:
    """Pin the requirements and all that they need for CPython 3.<minor> on the platforms, by canonical name.

    `machine` is "x86_64" or "aarch64", whatever this one is.

    `sources` are projects that publish no wheel and need nothing else: their source is pinned. Each pin
    has the version, the file's name, its SHA-256 (hex), its size in bytes and the names of the pinned
    packages that it requires. Raises UserError with pip's own last error.
    """
    items = _report(*pip.target(minor, platforms), *requirements)
    for source in sources:
        # Pip takes sources for its own Python alone, or without what they need:
        # https://github.com/pypa/pip/issues/11764
        items |= _report("--no-deps", "--no-binary", Requirement(source).name, source)
    requires = _requires(items, {"python_version": f"3.{minor}", "platform_machine": machine})
    with ThreadPoolExecutor(8) as pool:
        pins = pool.map(lambda name: _pin(items[name], requires[name]), items)
        return dict(sorted(zip(items, pins, strict=True)))


def gpu_targets(torch_pin: Mapping[str, Any], minor: int, platforms: Sequence[str]) -> list[str]:
    """The dotted targets that a torch wheel has cubins of, read from its libraries."""
    with tempfile.TemporaryDirectory() as scratch:
        pip.run(
            *("download", "--quiet", "--no-deps", "--dest", scratch),
            *(*pip.target(minor, platforms), f"torch=={torch_pin['version']}"),
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


def _is_release(data: object) -> bool:
    match data:
        case {
            "system": "x86_64-linux" | "aarch64-linux",
            "requirements": list(requirements),
            "cuda": str(),
            "gpuTargets": list(),
            "pythons": dict(pythons),
        }:
            return all(
                [
                    pythons,
                    *(isinstance(text, str) for text in requirements),
                    *(re.fullmatch("python3[0-9]+", name) for name in pythons),
                    *(_is_environment(wheels) for wheels in pythons.values()),
                ]
            )
        # One that is to be pinned yet.
        case {"system": "x86_64-linux" | "aarch64-linux", "requirements": list(requirements), **rest}:
            return not rest and all(isinstance(text, str) for text in requirements)
    return False


def _are_pins(data: object) -> bool:
    match data:
        case {
            "requirements": list(requirements),
            "sources": list(sources),
            "platforms": list(platforms),
            "pythons": list(pythons),
            "releases": list(releases),
        }:
            return all(
                [
                    platforms,
                    pythons,
                    releases,
                    *(isinstance(text, str) for text in (*requirements, *sources, *platforms)),
                    *(isinstance(text, str) and re.fullmatch("3[.][0-9]+", text) for text in pythons),
                    *map(_is_release, releases),
                ]
            )
    return False


def read(path: Path) -> dict[str, Any]:
    """The pins that the file holds, each field of its type. Raises UserError if it does not, and OSError."""
    data = read_json(path)
    try:
        if _are_pins(data):
            own = (text for release in data["releases"] for text in release["requirements"])
            for text in (*data["requirements"], *data["sources"], *own):
                Requirement(text)
            return dict(data)
        problem = "not the pins of wheels"
    except InvalidRequirement:
        problem = f"{text!r} is no requirement"
    raise UserError(f"{path}: {problem}; restore it (git checkout)")


def _renewed_release(release: Mapping[str, Any], pins: Mapping[str, Any]) -> dict[str, Any]:
    machine = release["system"].removesuffix("-linux")
    platforms = tags(pins, machine)
    requirements = [*release["requirements"], *pins["requirements"]]
    minors = [int(version.removeprefix("3.")) for version in pins["pythons"]]
    pythons = {
        f"python3{minor}": resolve(requirements, minor, machine, platforms, pins["sources"])
        for minor in minors
    }
    first, wheels = next(iter(pythons.items()))
    [runtime] = (name for name in wheels if re.fullmatch("nvidia-cuda-runtime(-cu12)?", name))
    # To read them takes the whole wheel.
    old = release.get("pythons", {}).get(first, {}).get("torch", {}).get("sha256")
    same = wheels["torch"]["sha256"] == old
    return {
        "system": release["system"],
        "requirements": release["requirements"],
        "cuda": ".".join(wheels[runtime]["version"].split(".")[:2]),
        "gpuTargets": release["gpuTargets"] if same else gpu_targets(wheels["torch"], minors[0], platforms),
        "pythons": pythons,
    }


def renewed(pins: Mapping[str, Any]) -> dict[str, Any]:
    """Pin anew what "requirements", "sources" and each release ask for. Needs the network.

    Raises UserError where pip cannot resolve them.
    """
    return {**pins, "releases": [_renewed_release(release, pins) for release in pins["releases"]]}


def write(path: Path, pins: Mapping[str, Any]) -> None:
    """Give the file other pins; it holds the old ones or the new ones at any moment. Raises OSError."""
    replace_text(path, json.dumps(pins, indent=2) + "\n")
