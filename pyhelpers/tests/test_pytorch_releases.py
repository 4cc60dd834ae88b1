"""The table's PyTorch floors, held against the build scripts of the PyTorch releases themselves.

A release's cpp_extension.py lists what its TORCH_CUDA_ARCH_LIST takes, from 1.3 on. What is tested of earlier
floors is that 1.3 has the architecture. Of each wheel that one file is read, by HTTP's range requests.
"""

import io
import json
import re
import subprocess
import sys
import urllib.request
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from pytorch_variants.hardware.spelling import version
from pytorch_variants.hardware.table import (
    Gpu,
    gpus,
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


def listed(release: str) -> frozenset[str]:
    """The compute capabilities that a release lists, as in "9.0" and "9.0a"."""
    python = "3.7" if release.startswith("1.") else "3.11"
    platforms = ("manylinux1_x86_64", "manylinux_2_28_x86_64")
    report = subprocess.check_output(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            # Else pip fetches whole wheels for their dependencies, where a registry does not list these.
            "--use-feature=fast-deps",
            *("--dry-run", "--report", "-", "--target", "unused", "--ignore-installed", "--no-deps"),
            *("--only-binary", ":all:", "--python-version", python),
            *(option for platform in platforms for option in ("--platform", platform)),
            f"torch=={release}.0",
        ]
    )
    url = json.loads(report)["install"][0]["download_info"]["url"]
    with io.BufferedReader(Remote(url), 2**20) as file, zipfile.ZipFile(file) as wheel:
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
