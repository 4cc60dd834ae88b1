"""What the table says of PyTorch's releases, held against their official wheels.

A release's cpp_extension.py lists what its TORCH_CUDA_ARCH_LIST takes, from 1.3 on. What is tested of earlier
floors is that 1.3 has the architecture. libtorch_python.so lists what the wheel is built for. Of each wheel
that one file is read, by HTTP's range requests.
"""

import io
import re
import urllib.request
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest

from pytorch_variants import pip
from pytorch_variants.hardware.spelling import version
from pytorch_variants.hardware.table import (
    Gpu,
    gpus,
    wheels,
)

# Parts of wheels are fetched.
pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# The releases in which the table says that something came, the one before each of these, and a late one.
RELEASES = ["1.3", "1.5", "1.6", "1.7", "1.13", "2.0", "2.1", "2.5", "2.6", "2.7", "2.8", "2.9", "2.10"]


class Remote(io.RawIOBase):
    """A file on a server, of which no more is fetched than what is read. It trusts whom the system trusts."""

    def __init__(self, url: str) -> None:
        self.url, self.position = url, 0
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:
            self.size = int(answer.headers["Content-Length"])

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self.position, io.SEEK_END: self.size}[whence]
        return self.position

    def readinto(self, buffer: "WriteableBuffer") -> int:
        view = memoryview(buffer)
        end = min(self.position + len(view), self.size)
        if end <= self.position:
            return 0
        request = urllib.request.Request(self.url, headers={"Range": f"bytes={self.position}-{end - 1}"})
        with urllib.request.urlopen(request) as answer:
            assert answer.status == 206, "this server knows no ranges"
            data = answer.read()
        view[: len(data)] = data
        self.position += len(data)
        return len(data)


@contextmanager
def opened(requirement: str, machine: str = "x86_64") -> Iterator[zipfile.ZipFile]:
    """The wheel that pip would install."""
    python = "3.7" if requirement.startswith("torch==1.") else "3.11"
    platforms = (f"manylinux1_{machine}", f"manylinux_2_28_{machine}")
    # Else pip fetches whole wheels for their dependencies, where a registry does not list these.
    how = ("--use-feature=fast-deps", "--no-deps", "--only-binary", ":all:", "--python-version", python)
    [item] = pip.chosen(*how, *(part for one in platforms for part in ("--platform", one)), requirement)
    url = item["download_info"]["url"]
    address = urlsplit(url)
    # A registry may be a directory.
    source = io.FileIO(unquote(address.path)) if address.scheme == "file" else Remote(url)
    with io.BufferedReader(source, 2**20) as file, zipfile.ZipFile(file) as wheel:
        yield wheel


def listed(release: str) -> frozenset[str]:
    """The compute capabilities that a release lists, as in "9.0" and "9.0a"."""
    with opened(f"torch=={release}.0") as wheel:
        script = wheel.read("torch/utils/cpp_extension.py").decode()
    [capabilities] = re.findall(r"supported_arches = \[(.*?)\]", script, re.DOTALL)
    return frozenset(re.findall(r"'([^']+)'", capabilities))


@pytest.fixture(scope="module")
def releases() -> dict[str, frozenset[str]]:
    with ThreadPoolExecutor(4) as pool:
        return dict(zip(RELEASES, pool.map(listed, RELEASES), strict=True))


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_takes_what_the_table_says(release: str, releases: dict[str, frozenset[str]]) -> None:
    known = {gpu.capability for gpu in gpus().values()}
    said = {gpu.capability for gpu in gpus().values() if version(gpu.pytorch_min) <= version(release)}
    assert releases[release] & known == said


@pytest.mark.parametrize("gpu", gpus().values(), ids=lambda gpu: gpu.name)
def test_floors_lie_between_two_releases(gpu: Gpu, releases: dict[str, frozenset[str]]) -> None:
    """That the releases above are enough: the one before a floor lacks the GPU."""
    if version(gpu.pytorch_min) > version(RELEASES[0]):
        assert gpu.pytorch_min in RELEASES, "add it, and the release before it, to RELEASES"
        before = RELEASES[RELEASES.index(gpu.pytorch_min) - 1]
        assert gpu.capability not in releases[before]


# The first and the last release of each list of targets, as far as all registries have them.
BUILT = ["2.1", "2.7", "2.8", "2.10", "2.11", "2.14"]


@pytest.mark.parametrize(
    ("release", "system"),
    [(release, system) for release in BUILT for system in wheels()[release].targets],
)
def test_an_official_wheel_is_built_for_what_the_table_says(release: str, system: str) -> None:
    with opened(f"torch=={release}.*", system.removesuffix("-linux")) as wheel:
        said = re.search(r"^cuda\b.*= '(.*)'", wheel.read("torch/version.py").decode(), re.MULTILINE)
        library = wheel.read("torch/lib/libtorch_python.so")
    assert said
    assert said[1] == wheels()[release].cuda
    numbers = (target.replace(".", "") for target in wheels()[release].targets[system])
    [flags] = re.findall(rb"(?<![ ,;=_-])((?:(?:sm|compute)_[0-9a-f]+ )+sm_[0-9]+)\0", library)
    assert flags.decode() == " ".join(f"sm_{number}" for number in numbers)
