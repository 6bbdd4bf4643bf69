"""`caffecompat data`: a group of commands on databases, each in a module of its own."""

from __future__ import annotations

import click

from caffecompat.cli.lazy import LazyGroup

COMMANDS = {
    "imageset": "Make a database of the images that a list names (convert_imageset).",
    "inspect": "Look into a database: counts, shapes, labels, and a page of thumbnails.",
    "mean": "Compute the mean image of a database (compute_image_mean).",
}


@click.group("data", cls=LazyGroup, package="caffecompat.cli.data", table=COMMANDS)
def command() -> None:
    """Make databases of images, look into them, compute their means."""
