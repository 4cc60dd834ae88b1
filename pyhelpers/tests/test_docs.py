"""The page of the Python API is that of these docstrings, and their examples are true."""

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


def test_the_page_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "python_api.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"](), "run python docs/python_api.py"


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    assert doctest.testmod(importlib.import_module(f"pytorch_variants.{name}")).failed == 0


def test_there_are_examples() -> None:
    assert doctest.testmod(importlib.import_module("pytorch_variants.hardware")).attempted >= 3
