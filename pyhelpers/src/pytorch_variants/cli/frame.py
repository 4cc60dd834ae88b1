"""What all commands are made of: click's, loaded when asked for, with a help that explains arguments.

Typer would read the options from a function's hints; it loads pydantic for that, which takes a command longer
than all that it does.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

Function = Callable[..., None]


class Argument(click.Argument):
    """An argument with a line of help, as options have."""

    def __init__(self, *names: Any, help: str, **attributes: Any) -> None:
        """As click.Argument's; `help` is what it stands for."""
        # Under another name than in click 8.5, which would list it once more, and earlier ones not at all.
        super().__init__(*names, **attributes)
        self.meaning = help


class Command(click.Command):
    """A command whose help lists its arguments before its options."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write both lists."""
        arguments = [one for one in self.params if isinstance(one, Argument)]
        # The usage line has their names as they are to be shown.
        rows = [(" ".join(one.get_usage_pieces(ctx)), one.meaning) for one in arguments]
        if rows:
            with formatter.section("Arguments"):
                formatter.write_dl(rows)
        super().format_options(ctx, formatter)


class Commands(click.Group):
    """Commands that are modules of `cli`, each imported when it is called or listed.

    `modules` names each command's module, in which the command has its function's name.
    """

    def __init__(self, modules: Mapping[str, str], **attributes: Any) -> None:
        """As click.Group's, with the commands' modules."""
        super().__init__(**attributes)
        self._modules = modules

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order that they were given in."""
        return list(self._modules)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with the first paragraph of its help, not the 45 characters that click shows."""
        found = [(name, self.get_command(ctx, name)) for name in self._modules]
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, (one.help or "").split("\n\n")[0].replace("\n", " ")) for name, one in found if one]
            )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import its module."""
        if cmd_name not in self._modules:
            return None
        module, function = self._modules[cmd_name].split(":")
        found: click.Command = getattr(import_module(f"pytorch_variants.cli.{module}"), function)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names, or a complaint with those that it may have meant."""
        if args and args[0] not in self._modules and not args[0].startswith("-"):
            from pytorch_variants.hardware.spelling import nearest

            names = ", ".join(nearest(args[0], list(self._modules)))
            ctx.fail(f"No such command {args[0]!r}; nearest: {names}")
        return super().resolve_command(ctx, args)


def _help(function: Function) -> str:
    """The docstring; an example stays on its line, to be copied."""
    return re.sub("^Example:", "\b\nExample:", inspect.getdoc(function) or "", flags=re.MULTILINE)


def command(function: Function) -> click.Command:
    """Make a command of a function; its docstring is the help."""
    return click.command(cls=Command, help=_help(function))(function)


def argument(name: str, **attributes: Any) -> Callable[[Function], Function]:
    """An argument, with `help`."""
    return click.argument(name, cls=Argument, **attributes)


# Generic for type checkers alone before click 8.5.
if TYPE_CHECKING:
    PathType = click.ParamType[Path]
else:
    PathType = click.ParamType


class AnyPath(PathType):
    """A path, whether there is something or not: the command itself says what is wrong with it."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """A text as a path."""
        return Path(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Let the shell list its files."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


PATH = AnyPath()
