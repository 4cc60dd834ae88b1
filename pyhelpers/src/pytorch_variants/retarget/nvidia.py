"""What is NVIDIA's, which its licence does not allow to change: by the distribution that it comes in.

A distribution says in its METADATA whose it is and on what terms. NVIDIA's libraries that lie inside of
another distribution, as older wheels of PyTorch bundle them, are known by their names.
"""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

WHY_UNTOUCHED = "NVIDIA's licence (the CUDA EULA) does not allow changing its libraries"
# Of METADATA and RECORD; PyTorch's RECORD has 1.2 MB, flashinfer-cubin's 4 MB.
MOST_METADATA, MOST_RECORD = 4 << 20, 64 << 20

_BUNDLED = re.compile(
    r"lib(cu(bl|da|dnn|dss|fft|file|pti|pva|rand|solver|sparse|tensor)|mathdx|nccl|npp"
    r"|nv(cc|comp|fatbin|Jit|jpeg|perf|ptx|rtc|shmem|tiff|ToolsExt|vm|_)|nvidia|curobo)"
)
_SHARED = re.compile(r"\.so(\.[0-9.]+)?$")
_AUTHORS = ("author", "author-email", "maintainer", "maintainer-email")
_LICENCES = ("license", "license-expression")


@dataclass(frozen=True)
class Distribution:
    """Whose a distribution is, and on what terms, as its METADATA says."""

    name: str
    authors: str
    licence: str

    @property
    def nvidia(self) -> bool:
        """Whether it is NVIDIA's and may not be changed; what NVIDIA gives freely may be."""
        theirs = "nvidia" in self.authors.lower() or self.name.lower().startswith("nvidia-")
        bound = re.search(r"nvidia|proprietary|eula", self.licence, re.I) or not self.licence
        return theirs and bool(bound)


def read_distribution(metadata: bytes) -> Distribution:
    """What METADATA says, whatever is in it: a line that is no header is passed over."""
    fields: dict[str, list[str]] = {}
    for line in metadata[:MOST_METADATA].decode("utf-8", "replace").splitlines():
        if not line.strip():
            break
        name, _, value = line.partition(":")
        fields.setdefault(name.strip().lower(), []).append(value.strip())
    licences = [value for name in _LICENCES for value in fields.get(name, [])]
    licences += [value for value in fields.get("classifier", []) if value.startswith("License ::")]
    return Distribution(
        name=(fields.get("name") or [""])[0],
        authors=" ".join(value for name in _AUTHORS for value in fields.get(name, [])),
        licence="; ".join(licences),
    )


def is_bundled(path: PurePath) -> bool:
    """Whether a library inside of another distribution, by its path in there, is NVIDIA's own."""
    return "nvidia" in path.parts[:-1] or bool(_BUNDLED.match(path.name))


def is_shared_library(path: PurePath) -> bool:
    """Whether it is named as one."""
    return bool(_SHARED.search(path.name))


def bundled_among(paths: Iterable[str]) -> tuple[str, ...]:
    """Those of some paths that are NVIDIA's libraries."""
    return tuple(
        sorted(path for path in paths if is_shared_library(PurePath(path)) and is_bundled(PurePath(path)))
    )


def _read(path: Path, most: int) -> bytes:
    try:
        if path.is_file():
            with path.open("rb") as file:
                return file.read(most)
    except OSError:
        pass
    return b""


def _listed(info: Path) -> Iterator[str]:
    """The files of an installed distribution; none where its RECORD is damaged."""
    record = io.StringIO(_read(info / "RECORD", MOST_RECORD).decode("utf-8", "replace"))
    with suppress(csv.Error):
        yield from (row[0] for row in csv.reader(record) if row)


def _of_nvidia(site: Path) -> Iterator[tuple[Path, Distribution]]:
    for info in sorted(site.glob("*.dist-info")):
        distribution = read_distribution(_read(info / "METADATA", MOST_METADATA))
        if distribution.nvidia:
            yield info, distribution


def nvidia_files(site: Path) -> frozenset[str]:
    """What NVIDIA's distributions have installed, by paths below site-packages."""
    return frozenset(name for info, _ in _of_nvidia(site) for name in _listed(info))


def installed_by_nvidia(path: Path) -> Distribution | None:
    """NVIDIA's distribution that a file or directory was installed by, None if it is not NVIDIA's."""
    path = path.absolute()
    for site in path.parents:
        wanted = path.relative_to(site).as_posix()
        for info, distribution in _of_nvidia(site):
            if any(f"{name}/".startswith(f"{wanted}/") for name in _listed(info)):
                return distribution
        if site.name in ("site-packages", "dist-packages"):
            break
    return None
