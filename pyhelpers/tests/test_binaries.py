"""The tests' own libraries: what one run has compiled the next one takes, and only what is the same."""

import subprocess
from pathlib import Path

import binaries
import pytest

# nvcc has to compile, which it need not do for others.
pytestmark = pytest.mark.slow
OPTIONS = ("-gencode=arch=compute_90,code=sm_90", "-DPROBE")


def test_a_library_is_compiled_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(binaries, "CACHE", tmp_path / "cache")
    compiled = binaries.nvcc_library.__wrapped__("probe", *OPTIONS).read_bytes()
    [kept] = (tmp_path / "cache").iterdir()

    # No compiler is asked again for the same.
    monkeypatch.setattr(binaries, "_nvcc", lambda: ("false",))
    taken = binaries.nvcc_library.__wrapped__("probe", *OPTIONS)
    assert taken.read_bytes() == compiled
    taken.write_bytes(b"a test's own change")
    assert kept.read_bytes() == compiled
    with pytest.raises(subprocess.CalledProcessError):
        binaries.nvcc_library.__wrapped__("probe", *OPTIONS, "-DOTHER")
    assert list((tmp_path / "cache").iterdir()) == [kept]


def test_a_file_that_an_option_names_is_read_each_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(binaries, "CACHE", tmp_path / "cache")
    (tmp_path / "more.h").write_text("extern int more;")
    binaries.nvcc_library.__wrapped__("probe", *OPTIONS, f"-include={tmp_path}/more.h")
    assert not (tmp_path / "cache").exists()
