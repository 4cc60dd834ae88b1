"""Names and values for people, printed to fit a terminal of any width."""

import textwrap
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

Value = str | Sequence[str]


def _lines(value: Value, width: int) -> list[str]:
    """A text, or items with commas between them that are not broken, as lines of some width."""
    if not isinstance(value, str):
        value = ", ".join(item.replace(" ", "\N{NO-BREAK SPACE}") for item in value)
    lines = textwrap.wrap(value, width, break_on_hyphens=False)
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]


def print_facts(console: Console, title: str, facts: Iterable[tuple[str, Value]]) -> None:
    """A title and below it names and values; those without a value are left out."""
    given = [(name, value) for name, value in facts if value]
    indent = 4 + max((len(name) for name, _ in given), default=0)
    width = max(console.width - indent, 12)
    for line in textwrap.wrap(title, max(console.width, 12)):
        console.print(Text(line, style="bold"), soft_wrap=True)
    for name, value in given:
        for number, line in enumerate(_lines(value, width)):
            label = Text(f"  {'' if number else name}".ljust(indent), style="dim")
            console.print(label + Text(line), soft_wrap=True)
