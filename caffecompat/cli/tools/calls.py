"""One of our commands, called by another in its own context: processes that it starts get the same command line."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import click


def command_of(module: str) -> click.Command:
    """The command of a module of `caffecompat.cli`, such as `train` or `data.imageset`."""
    command: click.Command = importlib.import_module(f"caffecompat.cli.{module}").command
    return command


def call(module: str, arguments: Sequence[str]) -> None:
    """Run it with these arguments, below the command that is running."""
    command = command_of(module)
    context = click.get_current_context()
    with command.make_context(command.name, list(arguments), parent=context) as inner:
        command.invoke(inner)
