"""`caffecompat evaluate`: a group of commands that score results and nets, each in a module of its own."""

from __future__ import annotations

import click

from caffecompat.cli.lazy import LazyGroup

COMMANDS = {
    "classification": "Score a net that names what pictures show, by one crop, many, or densely: top-1, top-5.",
    "detections": "Score files of detections against the annotations of VOC, COCO or ILSVRC.",
    "fewshot": "Score a matching network on episodes of held-out classes, with a confidence interval.",
    "segmentation": "Score label maps, or a net that makes them, against those of a data set: mean IoU.",
}


@click.group("evaluate", cls=LazyGroup, package="caffecompat.cli.evaluate", table=COMMANDS)
def command() -> None:
    """Score results, or the nets that give them, against annotations."""
