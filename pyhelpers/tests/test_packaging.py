"""What pip users get: the source archive, the wheel that is built from it, the oldest that it runs with."""

import doctest
import email.message
import email.parser
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, made_once
from packaging.requirements import Requirement

import pytorch_variants

# Old releases and build backends are fetched.
pytestmark = pytest.mark.slow

PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyhelpers" / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]


@dataclass(frozen=True)
class Built:
    """The source archive, unpacked, and the wheel that was built of it."""

    archive: Path
    source: Path
    wheel: Path


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    directory = made_once(tmp_path_factory, "packaging", make_packages)
    [archive] = directory.glob("*.tar.gz")
    [source] = (directory / "unpacked").iterdir()
    [wheel] = directory.glob("*.whl")
    return Built(archive, source, wheel)


def make_packages(tmp_path: Path) -> None:
    """Both, made of a copy of the repository's part, with its links as they are."""
    clone = tmp_path / "clone"
    for part in ("lib/hardware.toml", "LICENSE"):
        (clone / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / part, clone / part)
    ours = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".*")
    shutil.copytree(ROOT / "pyhelpers", clone / "pyhelpers", symlinks=True, ignore=ours)
    requires = tomllib.loads((clone / "pyhelpers" / "pyproject.toml").read_text())["build-system"]["requires"]
    subprocess.run([*PIP, "install", "-q", "--target", tmp_path / "backend", *requires], check=True)
    subprocess.run(
        [sys.executable, "-c", f"from setuptools import build_meta as b; b.build_sdist({str(tmp_path)!r})"],
        check=True,
        capture_output=True,
        cwd=clone / "pyhelpers",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "backend")},
    )
    [archive] = tmp_path.glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "unpacked")
    subprocess.run([*PIP, "wheel", "-q", "--no-deps", "-w", tmp_path, archive], check=True)


def make_environment(directory: Path, requirements: Iterable[str | Path]) -> None:
    """A Python with these and what they need, and not so much as pip."""
    venv.create(directory)
    python = directory / "bin" / "python"
    subprocess.run([*PIP, "--python", python, "install", "-q", *requirements], check=True)


@pytest.fixture(scope="session")
def least(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel and the oldest of each dependency that it allows."""
    requirements = [Requirement(text) for text in PROJECT["dependencies"]]
    bounds = [[bound.version for bound in one.specifier if bound.operator == ">="] for one in requirements]
    first = [f"{one.name}=={oldest}" for one, [oldest] in zip(requirements, bounds, strict=True)]
    make = partial(make_environment, requirements=(*first, built.wheel))
    return made_once(tmp_path_factory, "least", make) / "bin"


def metadata(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.parser.Parser().parsestr(archive.read(name).decode())


def test_the_wheel_has_what_a_stranger_looks_for(built: Built) -> None:
    found = metadata(built.wheel)
    assert found["Version"] == pytorch_variants.__version__
    assert found["License-Expression"] == "MIT"
    assert found["Author"]
    assert found["Description-Content-Type"] == "text/markdown"
    assert found.get_payload() == (ROOT / "pyhelpers" / "README.md").read_text(encoding="utf-8")
    assert {"Homepage", "Documentation", "Changelog", "Issues"} == {
        url.partition(",")[0] for url in found.get_all("Project-URL", [])
    }
    assert "Typing :: Typed" in found.get_all("Classifier", [])
    with zipfile.ZipFile(built.wheel) as archive:
        contents = {
            name.partition(".dist-info/")[2] or name: archive.read(name) for name in archive.namelist()
        }
    assert contents["licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert contents["pytorch_variants/hardware/hardware.toml"] == (ROOT / "lib/hardware.toml").read_bytes()
    assert "pytorch_variants/py.typed" in contents
    modules = {name for name in contents if name.startswith("pytorch_variants/") and name.endswith(".py")}
    source = ROOT / "pyhelpers" / "src"
    assert modules == {str(path.relative_to(source)) for path in source.rglob("*.py")}
    assert not any(name.startswith("tests") for name in contents)


def test_the_source_archive_is_whole(built: Built) -> None:
    """Its links are files: nothing of the repository is beside it."""
    for name in ("LICENSE", "README.md", "src/pytorch_variants/hardware/hardware.toml"):
        path = built.source / name
        assert path.is_file()
        assert not path.is_symlink()


def test_the_readmes_example() -> None:
    text = (ROOT / "pyhelpers" / "README.md").read_text(encoding="utf-8")
    examples = doctest.DocTestParser().get_doctest(text, {}, "README.md", None, None)
    assert len(examples.examples) >= 3
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_what_makes_new_pins_is_asked_for_by_name(least: Path) -> None:
    """Without the extra all else works; what needs it names it."""
    program = least / "pytorch-variants"
    assert not (least / "pip").exists()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(program), *arguments, "--flake", str(ROOT)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    assert run("lock", "show").returncode == 0
    for arguments, missing in ((("nixpkgs",), "nix-prefetch-github"), (("embedded",), "pip")):
        result = run("lock", "update", *arguments)
        assert result.returncode == 2
        assert result.stderr == (
            f"pytorch-variants: lock update needs {missing}, which is not installed: "
            "pip install 'pytorch-variants[pins]'\n"
        )


def test_what_is_imported_is_asked_for(least: Path) -> None:
    """Every module, in an environment of the dependencies alone."""
    script = """
import importlib, pkgutil, pytorch_variants
for module in pkgutil.walk_packages(pytorch_variants.__path__, "pytorch_variants."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        print(module.name)
"""
    result = subprocess.run([least / "python", "-c", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) > 40


def test_the_source_archives_tests_pass_with_the_oldest_dependencies(
    built: Built, least: Path, tmp_path: Path
) -> None:
    """The tests' own tools are this environment's; what the package needs is found before them."""
    [packages] = least.parent.glob("lib/python3*/site-packages")
    venv.create(tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    [own] = tmp_path.glob("venv/lib/python3*/site-packages")
    tools = (path for path in sys.path if path.endswith("site-packages"))
    (own / "tests.pth").write_text("\n".join(map(str, (packages, *tools))))
    script = "import click, sys, importlib.metadata as m; print(m.version('click'), click.__file__)"
    found = subprocess.check_output([python, "-c", script], text=True)
    assert found.startswith(f"8.1.0 {packages}")
    result = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"],
        cwd=built.source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-6000:] + result.stderr[-2000:]
    passed = re.search(r"(\d+) passed", result.stdout)
    assert passed
    assert int(passed[1]) >= 100
