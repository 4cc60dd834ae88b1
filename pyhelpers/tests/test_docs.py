"""The written pages are those of the docstrings and the table, and the docstrings' examples are true."""

import doctest
import importlib
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from conftest import ROOT, Nix

import pytorch_variants

MODULES = [
    module.name
    for module in pkgutil.walk_packages(pytorch_variants.__path__, "pytorch_variants.")
    if not module.name.endswith(".__main__")
]


@pytest.mark.parametrize("writer", ["python_api.py", "hardware.py"])
def test_a_page_is_up_to_date(writer: str) -> None:
    script = runpy.run_path(str(ROOT / "docs" / writer))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"](), f"run python docs/{writer}"


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_there_are_examples() -> None:
    assert doctest.testmod(importlib.import_module("pytorch_variants.hardware.spelling")).attempted >= 3


def test_the_python_pages_own_example() -> None:
    head = runpy.run_path(str(ROOT / "docs" / "python_api.py"))["HEAD"]
    examples = doctest.DocTestParser().get_doctest(head, {}, "python-api.md", None, None)
    assert len(examples.examples) >= 4
    assert doctest.DocTestRunner().run(examples).failed == 0


def test_the_python_page_has_the_public_names_alone() -> None:
    page = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    titles = re.findall(r"^## (\w+)$", page, re.MULTILINE)
    assert sorted(titles) == sorted(pytorch_variants.__all__)
    assert page.count("\n") < 520


def parts(hint: Any) -> Iterator[type]:
    """The classes of this package in an annotation."""
    if isinstance(hint, type) and hint.__module__.startswith("pytorch_variants."):
        yield hint
    for argument in get_args(hint):
        yield from parts(argument)


def test_the_python_page_has_all_that_the_public_names_give() -> None:
    """What their annotations lead to, field by field."""
    found: list[Any] = [getattr(pytorch_variants, name) for name in pytorch_variants.__all__]
    for one in found:
        for hint in get_type_hints(one).values():
            found += [part for part in parts(hint) if part not in found]
    page = (ROOT / "docs" / "python-api.md").read_text(encoding="utf-8")
    given = {one.__name__ for one in found if isinstance(one, type)} - set(pytorch_variants.__all__)
    assert set(re.findall(r"^### (\w+)$", page, re.MULTILINE)) == given


def test_new_hardware_is_an_entry_each_and_no_line_of_code(nix: Nix, tmp_path: Path) -> None:
    """The entries that docs/new-hardware.md makes up, in a copy of this repository."""
    page = (ROOT / "docs" / "new-hardware.md").read_text(encoding="utf-8")
    entries = re.findall(r"^    \[(?:gpu|cpu)\..*\n(?:    .*\n)+", page, re.MULTILINE)
    assert len(entries) == 2
    for part in (
        "flake.nix",
        "flake.lock",
        "lib",
        "pkgs",
        "checks",
        "pyhelpers/pyproject.toml",
        "pyhelpers/src",
    ):
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / part, tmp_path / part)
    with (tmp_path / "lib" / "hardware.toml").open("a", encoding="utf-8") as table:
        table.write(textwrap.dedent("\n".join(["", *entries])))
    table_of_python = tmp_path / "pyhelpers" / "src" / "pytorch_variants" / "hardware" / "hardware.toml"
    shutil.copy(tmp_path / "lib" / "hardware.toml", table_of_python)

    flake = f"path:{tmp_path}"
    parsed = 'lib: [ (lib.parseGpu "NVIDIA Example 1").name (lib.parseCpu "AVX-EXAMPLE").flags ]'
    gpu, flags = nix.eval(f"{flake}#lib", parsed)
    assert gpu == "sm999"
    assert {"-mavx512bf16", "-mavx-example"} <= set(flags)
    refused = nix.error(
        f"{flake}#legacyPackages.x86_64-linux", "p: p.pytorch-cuda12_8-sm999-avx_example.drvPath"
    )
    assert "CUDA 12.8 cannot target sm999, 13.0 and later can" in refused
    found = subprocess.check_output(
        [sys.executable, "-m", "pytorch_variants", "lookup", "Example 1"],
        env={"PYTHONPATH": str(tmp_path / "pyhelpers" / "src")},
        text=True,
    )
    assert "pytorch-sm999-avx_example" in found
