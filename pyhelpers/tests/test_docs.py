"""The written pages are those of the docstrings and the table, and the docstrings' examples are true."""

import doctest
import importlib
import pkgutil
import runpy

import pytest
from conftest import ROOT

import pytorch_variants

MODULES = [
    module.name for module in pkgutil.iter_modules(pytorch_variants.__path__) if module.name != "__main__"
]


@pytest.mark.parametrize("writer", ["python_api.py", "hardware.py"])
def test_a_page_is_up_to_date(writer: str) -> None:
    script = runpy.run_path(str(ROOT / "docs" / writer))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"](), f"run python docs/{writer}"


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"pytorch_variants.{name}")).failed == 0


def test_there_are_examples() -> None:
    assert doctest.testmod(importlib.import_module("pytorch_variants.hardware")).attempted >= 3
