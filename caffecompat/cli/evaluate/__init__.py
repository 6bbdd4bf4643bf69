"""`caffecompat evaluate`: a group of commands that score files of results, each in a module of its own."""

from __future__ import annotations

import click

from caffecompat.cli.lazy import LazyGroup

COMMANDS = {"detections": "Score files of detections against the annotations of VOC, COCO or ILSVRC."}


@click.group("evaluate", cls=LazyGroup, package="caffecompat.cli.evaluate", table=COMMANDS)
def command() -> None:
    """Score files of results against annotations."""
