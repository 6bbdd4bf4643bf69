"""The command `caffecompat`: a group that imports a subcommand's module only when that one is called.

Each subcommand lies in a module of its own, `caffecompat.cli.<name>`, as a click command named `command`.
The one-line helps stand here, so that `caffecompat --help` imports none of them (nor torch, numpy or cv2).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import click

import caffecompat
from caffecompat.cli.errors import run_guarded

COMMANDS = {
    "classify": "Name what images show: the best classes with their scores.",
    "convert": "Turn a prototxt and its weights into what PyTorch and Caffe load.",
    "detect": "Find objects in images: boxes in pixels, with names and scores.",
    "features": "Save the values of a net's blobs for images.",
    "inspect": "Show a net layer by layer: shapes, parameters, work, receptive field.",
    "recipes": "List the recipes for `convert --recipe`.",
    "run": "Pass images or arrays through a net and show or save its outputs.",
    "segment": "Label every pixel of images.",
    "upgrade": "Write old prototxts and weights in today's form.",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in alphabetical order."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, its module imported, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"caffecompat.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands, from the table and not from their modules."""
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))

    def main(self, args: Sequence[str] | None = None, *rest: Any, standalone_mode: bool = True, **extra: Any) -> Any:
        """Run; every fault becomes a message on stderr and an exit status (see `cli.errors`)."""
        run: Callable[..., Any] = super().main

        def call() -> Any:
            return run(args, *rest, standalone_mode=False, **extra)

        return run_guarded(call) if standalone_mode else call()


def _print_version(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    click.echo(f"caffecompat {caffecompat.__version__}")
    ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main() -> None:
    """Caffe models, unchanged, on PyTorch.

    A command takes a prototxt and its weights as Caffe wrote them. Results go to stdout or to the file of -o,
    everything else to stderr. The exit status is 1 for a fault of the input and 2 for wrong usage.
    """
