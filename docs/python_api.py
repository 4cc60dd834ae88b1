"""Write docs/python-api.md from the docstrings of pytorch_variants: python docs/python_api.py."""

import ast
import re
import sys
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "pyhelpers" / "src" / "pytorch_variants"
PAGE = ROOT / "docs" / "python-api.md"

HEAD = """# The Python package pytorch_variants

Written from its docstrings by `python docs/python_api.py`. Whatever the caller can mend raises
`errors.UserError`, whose text is one line that says what to write instead. Numbers of GPU architectures are
nvcc's, 90 for 9.0; sizes are in bytes.
"""

Definition = ast.FunctionDef | ast.ClassDef


def _prose(node: ast.Module | Definition) -> str:
    """The docstring, with its examples as code."""
    text = ast.get_docstring(node) or ""
    return re.sub(r"^>>> .*(?:\n.+)*", lambda example: f"```python\n{example[0]}\n```", text, flags=re.M)


def _public(body: list[ast.stmt]) -> Iterator[Definition]:
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            yield node


def _signature(node: Definition, lines: list[str]) -> str:
    """The definition as it stands in the source: a function's head, a class's head and fields."""
    first = node.decorator_list[0].lineno if node.decorator_list else node.lineno
    head = lines[(node.lineno if isinstance(node, ast.ClassDef) else first) - 1 : node.body[0].lineno - 1]
    fields = (
        [part for part in node.body if isinstance(part, ast.AnnAssign)]
        if isinstance(node, ast.ClassDef)
        else []
    )
    return textwrap.dedent("\n".join([*head, *(lines[field.lineno - 1] for field in fields)])).rstrip(":\n")


def _entry(node: Definition, lines: list[str], prefix: str = "") -> str:
    parts = [f"### {prefix}{node.name}", f"```python\n{_signature(node, lines)}\n```", _prose(node)]
    if isinstance(node, ast.ClassDef):
        parts += [_entry(method, lines, f"{node.name}.") for method in _public(node.body)]
    return "\n\n".join(part for part in parts if part)


def _is_command(node: Definition) -> bool:
    return "\nExample: " in _prose(node)


def _commands(modules: Iterable[ast.Module]) -> str:
    """The commands' docstrings; what options they take is said by --help."""
    texts = [_prose(node) for module in modules for node in _public(module.body) if _is_command(node)]
    return "\n\n".join(
        ["## The command line", *(re.sub("^Example: (.*)", r"    \1", text, flags=re.M) for text in texts)]
    )


def page() -> str:
    """The whole page."""
    sources = {path.stem: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.glob("*.py"))}
    commands = [ast.parse(sources.pop(name)) for name in list(sources) if name.startswith("cli")]
    parts = [HEAD.rstrip(), _commands(commands)]
    for name, source in sources.items():
        module = ast.parse(source)
        entries = [_entry(node, source.splitlines()) for node in _public(module.body)]
        if entries:
            parts += [f"## pytorch_variants.{name}", _prose(module), *entries]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
