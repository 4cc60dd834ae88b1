"""Write docs/python-api.md from the docstrings of the public names: python docs/python_api.py."""

import ast
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytorch_variants

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pyhelpers" / "src" / "pytorch_variants"
PAGE = ROOT / "docs" / "python-api.md"

HEAD = """# The Python API

    >>> from pytorch_variants import lookup, parse_name, runs_on
    >>> lookup("RTX 4090").entry.name
    'sm89'
    >>> parse_name("pytorch-cuda12_8-sm90-avx512").cuda
    '12.8'
    >>> runs_on("cubin", 86, "", 89)
    True

Written from the docstrings by `python docs/python_api.py`.

## What is promised

**What is stable.** The names on this page, as they are imported from `pytorch_variants`: their parameters,
fields and properties; and the fields and properties of [what they give](#what-they-give). All other names and
all modules below are internal and change without notice. Until 1.0 a minor release (0.2) may change what is
on this page, a patch release (0.1.1) does not, and the [changelog](../CHANGELOG.md) says so.

**Errors.** What the caller can mend raises `UserError`, whose text is one line that says what to write
instead. A file that cannot be read or written raises `UserError` or `OSError`. No other exception is raised
on purpose.

**Units.** Sizes are in bytes and times in seconds. A GPU architecture as a number is nvcc's: 90 for compute
capability 9.0. Versions are texts ("12.8"). Files are `pathlib.Path`.

**Values** are frozen dataclasses. Calls keep no state and may run in several threads.

**Systems.** Names, lookups and `runs_on` work wherever Python does. `detect` reads a Linux machine's
/proc/cpuinfo; elsewhere hand it a copy of one. Retargeting reads and writes files by calls that Linux and
macOS have. Verification runs the environment that it looks at, so it needs that environment's system.

**JSON.** What a command prints with `--json` has a number "schema", which changes when a field goes or
changes its meaning. A new field does not change it. [schemas/](schemas) has a JSON Schema for each command,
and [verification-report.schema.json](verification-report.schema.json) is the one of `verify`. `list
--github-matrix` has the form that GitHub Actions asks for, and no number.

**Exit codes** of all commands: 0 all right, 1 a finding, 2 a wrong call or nothing to check.
"""

RESULTS = """## What they give

The calls above give these; nobody has to make or import one.
"""
# Where each is, in the order of the calls.
RESULT_PLACES = {
    "Gpu": "hardware.table",
    "Cpu": "hardware.table",
    "Match": "names.lookup",
    "Advice": "machine.advise",
    "Official": "machine.official",
    "Account": "retarget",
    "Retargeted": "retarget.library",
    "Inspection": "verify.inspect",
    "Inspected": "verify.inspect",
    "Answer": "verify.inspect",
    "Finding": "findings",
}

Definition = ast.FunctionDef | ast.ClassDef


def _prose(node: Definition) -> str:
    """The docstring, with its examples as code."""
    text = ast.get_docstring(node) or ""
    return re.sub(r"^>>> .*(?:\n.+)*", lambda example: f"```python\n{example[0]}\n```", text, flags=re.M)


def _public(body: list[ast.stmt]) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node


def _signature(node: Definition, lines: list[str], name: str) -> str:
    """The definition as it stands in the source: a function's head, a class's head and fields."""
    first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
    head = lines[(node.lineno if isinstance(node, ast.ClassDef) else first) - 1 : node.body[0].lineno - 1]
    fields = (
        [part for part in node.body if isinstance(part, ast.AnnAssign)]
        if isinstance(node, ast.ClassDef)
        else []
    )
    text = textwrap.dedent("\n".join([*head, *(lines[field.lineno - 1] for field in fields)]))
    return text.rstrip(":\n").replace(f"def {node.name}(", f"def {name}(", 1)


def _entry(node: Definition, lines: list[str], name: str, level: str = "##") -> str:
    title = name.rpartition(".")[2]
    parts = [f"{level} {name}", f"```python\n{_signature(node, lines, title)}\n```", _prose(node)]
    if isinstance(node, ast.ClassDef):
        parts += [_entry(one, lines, f"{name}.{one.name}", f"{level}#") for one in _public(node.body)]
    return "\n\n".join(part for part in parts if part)


def _described(name: str, place: str, level: str = "##") -> str:
    """The entry of one name, from the module that has it."""
    module, _, attribute = place.partition(":")
    path = PACKAGE / module.replace(".", "/")
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    [node] = (node for node in _public(ast.parse(source).body) if node.name == (attribute or name))
    return _entry(node, source.splitlines(), name, level)


def page() -> str:
    """The whole page."""
    places: dict[str, str] = vars(pytorch_variants)["_PLACES"]
    parts = [HEAD.rstrip(), *(_described(name, place) for name, place in places.items())]
    parts += [RESULTS.rstrip(), *(_described(*place, "###") for place in RESULT_PLACES.items())]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
