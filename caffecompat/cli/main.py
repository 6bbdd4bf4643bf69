"""The command `caffecompat`: a group that imports a subcommand's module only when that one is called.

Each subcommand lies in a module of its own, `caffecompat.cli.<name>`, as a click command named `command`.
The one-line helps stand here, so that `caffecompat --help` imports none of them (nor torch, numpy or cv2).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

import caffecompat
from caffecompat.cli.errors import run_guarded
from caffecompat.cli.lazy import LazyGroup

# Where the context keeps the arguments of the command line.
ARGUMENTS = "caffecompat.arguments"

COMMANDS = {
    "caffe": "Run train, test, time or device_query with the flags of Caffe's own program.",
    "classify": "Name what images show: the best classes with their scores.",
    "convert": "Turn a prototxt and its weights into what PyTorch and Caffe load.",
    "data": "Make databases of images, look into them, compute their means.",
    "detect": "Find objects in images: boxes in pixels, with names and scores.",
    "draw": "Draw a net, or an SSD's prior boxes, as a picture or as a page to search.",
    "evaluate": "Score a net, or files of results, against annotations.",
    "features": "Save the values of a net's blobs for images.",
    "inspect": "Show a net layer by layer: shapes, parameters, work, receptive field.",
    "new": "Write the prototxts of a published net, ready to train.",
    "python": "Run scripts that were written for Caffe, Python 2 included.",
    "plot": "Draw the log of a training run.",
    "lint": "Check solvers and nets before a run: files, data, labels, weights, settings.",
    "recipes": "List the recipes for `convert --recipe`.",
    "report": "Show a training run, and what its net finds, as one HTML page.",
    "run": "Pass images or arrays through a net and show or save its outputs.",
    "segment": "Label every pixel of images.",
    "shim": "Write a tree in which scripts find build/tools/caffe and python/caffe.",
    "test": "Score a net on its own data: outputs and loss, averaged over batches.",
    "time": "Measure a net layer by layer, forward and backward.",
    "tool": "Run one of Caffe's other programs by its name: convert_imageset, convert_annoset, ...",
    "train": "Train a net as a solver says.",
    "verify": "Compare a net with another program, blob by blob.",
    "upgrade": "Write old prototxts and weights in today's form.",
}


class MainGroup(LazyGroup):
    """The command itself."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and keep what was given: `train` starts processes with it."""
        ctx.meta[ARGUMENTS] = list(args)
        return super().parse_args(ctx, args)

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


@click.group(
    cls=MainGroup,
    package="caffecompat.cli",
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def main() -> None:
    """Caffe models, unchanged, on PyTorch.

    A command takes a prototxt and its weights as Caffe wrote them. Results go to stdout or to the file of -o,
    everything else to stderr. The exit status is 1 for a fault of the input and 2 for wrong usage.
    """
