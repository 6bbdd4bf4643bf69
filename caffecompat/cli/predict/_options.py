"""The options that the commands on pictures share."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from caffecompat.cli.options import engine_options, net_argument, net_options, preprocessing_options, python_option

F = TypeVar("F", bound=Callable[..., Any])
_SIZE = re.compile(r"(\d{1,6})(?:[xX,](\d{1,6}))?")


def size(context: click.Context, option: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """`HxW`, or one number for both, as (height, width)."""
    if value is None:
        return None
    match = _SIZE.fullmatch(value)
    if match is None or int(match[1]) == 0 or int(match[2] or 1) == 0:
        raise click.BadParameter(f"{value!r} is not a size such as 256x384 (height x width) or 256")
    return int(match[1]), int(match[2] or match[1])


def picture_command(formats: str, *, needs_input: bool = True, engines: bool = True) -> Callable[[F], F]:
    """The arguments NET and INPUTS and the options of a command on pictures.

    Args:
        formats: what it writes, as "table jsonl".
        needs_input: it takes one INPUT at least.
        engines: an engine may run the net.
    """

    def decorate(function: F) -> F:
        for option in reversed(_options(formats.split())):
            function = option(function)
        function = running_options(engine_options(function) if engines else function)
        function = net_options(preprocessing_options(python_option(function)))
        metavar = "INPUT..." if needs_input else "[INPUT]..."
        path = click.Path(path_type=Path)
        inputs = click.argument("inputs", nargs=-1, required=needs_input, type=path, metavar=metavar)
        return net_argument(inputs(function))

    return decorate


def running_options(function: F) -> F:
    """How a net is run on pictures: random_weights, size, resize, interpolation, batch, device."""
    options: list[Callable[[F], F]] = [
        click.option("--random-weights", is_flag=True, help="Without --weights, take what the net's fillers give."),
        click.option("--size", callback=size, metavar="HxW", help="Resize images to this; the input is cut from it."),
        click.option(
            "--resize",
            type=click.Choice(["warp", "fit_small", "fit_large_pad"]),
            help="Resize to exactly the size; or cover it; or fit into it and pad.",
        ),
        click.option(
            "--interpolation",
            type=click.Choice(["linear", "area", "nearest", "cubic", "lanczos4"]),
            help="OpenCV's method of resizing.",
        ),
        click.option(
            "--batch", type=click.IntRange(1), default=1, show_default=True, help="How many images pass at once."
        ),
        click.option(
            "--device",
            type=click.Choice(["cpu", "cuda", "mps"]),
            default="cpu",
            show_default=True,
            help="Where the net runs.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def _options(formats: list[str]) -> list[Callable[[F], F]]:
    return [
        click.option(
            "--every", type=click.IntRange(1), default=1, metavar="N", help="Take every N-th frame of a video."
        ),
        click.option(
            "--keep-going", is_flag=True, help="Pass over images that cannot be read; exit with 1 at the end."
        ),
        click.option("--format", "format_", type=click.Choice(formats), help="What is written; else -o's suffix says."),
        click.option(
            "-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write here and not to stdout."
        ),
    ]
