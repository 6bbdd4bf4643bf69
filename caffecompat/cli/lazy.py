"""A group of commands whose modules are imported when they are called."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click


class LazyGroup(click.Group):
    """A group that imports a command's module only when that one is called.

    Args:
        package: the package whose modules are the commands, each with a click command named `command`.
        table: the commands' names, each with its one-line help: listing them imports nothing.
    """

    def __init__(self, *args: Any, package: str, table: Mapping[str, str], **rest: Any) -> None:
        super().__init__(*args, **rest)
        self._package = package
        self._table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in alphabetical order."""
        return sorted(self._table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, its module imported, or None."""
        if cmd_name not in self._table:
            return None
        command: click.Command = importlib.import_module(f"{self._package}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, from the table and not from their modules."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(self._table.items()))
