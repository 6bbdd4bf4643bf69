"""`caffecompat draw`: a net as a picture or as a page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from caffecompat.cli.options import net_argument, net_options, preprocessing_options, python_option
from caffecompat.cli.predict._options import size
from caffecompat.errors import UsageError

PATH = click.Path(path_type=Path)
_POINT = re.compile(r"(\d{1,6}(?:\.\d{1,3})?),(\d{1,6}(?:\.\d{1,3})?)")


def _point(context: click.Context, option: click.Parameter, value: str | None) -> tuple[float, float] | None:
    """`X,Y` as two numbers."""
    if value is None:
        return None
    match = _POINT.fullmatch(value)
    if match is None:
        raise click.BadParameter(f"{value!r} is not a place such as 150,120 (x, y in pixels)")
    return float(match[1]), float(match[2])


@click.command("draw")
@net_argument
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="FILE",
    help="Where to: .html, .svg or .png. Default: the net's name with .html, in the current folder.",
)
@click.option("--image", type=PATH, metavar="PICTURE", help="Show what blobs hold for it, or prior boxes upon it.")
@click.option("--priors", is_flag=True, help="Draw the boxes of the net's PriorBox layers, and not the net.")
@click.option(
    "--at", callback=_point, metavar="X,Y", help="With --priors: the pixel whose cells are drawn. Default: the middle."
)
@click.option("--random-weights", is_flag=True, help="With --image: without --weights, take what the fillers give.")
@click.option("--size", callback=size, metavar="HxW", help="Resize the picture to this; the input is cut from it.")
@preprocessing_options
@python_option
@net_options
def command(
    net: Path,
    weights: Path | None,
    output: Path | None,
    image: Path | None,
    priors: bool,
    at: tuple[float, float] | None,
    **options: Any,
) -> None:
    """Draw a net: as SVG, as PNG, or as one HTML page with a search that needs no other file and no network.

    Layers that work in place stand in the box of the layer before them; lines are blobs, with their shapes. In the
    page a click on a layer shows its parameters, their shapes and numbers, its work, and what its values see of the
    input; with --weights and --image also what its blobs hold for a picture, and what the net finds in it.

    With --priors the prior boxes of an SSD are drawn: for each PriorBox layer those of one cell, in pixels of the
    picture (or of the net's input, without --image), and counted.
    """
    from caffecompat.cli.draw.making import make
    from caffecompat.cli.files import keep_inputs, tell_written

    if at is not None and not priors:
        raise UsageError("--at goes with --priors")
    target = output or Path(net.with_suffix(".html").name)
    keep_inputs(target, [net, weights, image, options["labels"]])
    make(net, target, weights=weights, image=image, priors=priors, at=at, **options)
    tell_written(target)
