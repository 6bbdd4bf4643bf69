"""`caffecompat evaluate`: a group of commands that score results and nets, each in a module of its own."""

from __future__ import annotations

import click

from caffecompat.cli.lazy import LazyGroup

COMMANDS = {
    "detections": "Score files of detections against the annotations of VOC, COCO or ILSVRC.",
    "segmentation": "Score label maps, or a net that makes them, against those of a data set: mean IoU.",
}


@click.group("evaluate", cls=LazyGroup, package="caffecompat.cli.evaluate", table=COMMANDS)
def command() -> None:
    """Score results, or the nets that give them, against annotations."""
