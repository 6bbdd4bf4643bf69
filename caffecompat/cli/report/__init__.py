"""`caffecompat report`: a run as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from caffecompat.cli.caffe_flags import CaffeCommand
from caffecompat.cli.errors import tell
from caffecompat.cli.options import net_options, reading_options
from caffecompat.cli.reading import gpu_option
from caffecompat.errors import UsageError

PATH = click.Path(path_type=Path)


@click.command("report", cls=CaffeCommand)
@click.argument("logs", nargs=-1, type=PATH, metavar="[LOG...]")
@click.option(
    "-o",
    "--output",
    type=PATH,
    metavar="PAGE.html",
    help="Where to. Default: the first LOG's name, else the weights', with .html, in the current folder.",
)
@click.option("--model", type=PATH, metavar="NET.prototxt", help="Test this net on its own data, too.")
@click.option("-w", "--weights", type=PATH, metavar="FILE", help="Its weights: .caffemodel or .caffemodel.h5.")
@click.option(
    "--iterations", type=click.IntRange(1), metavar="N", help="How many batches are tested. Default: all data, once."
)
@click.option("--labels", type=PATH, metavar="FILE", help="The classes' names: a label map or a text.")
@click.option(
    "--ap-version",
    type=click.Choice(["11point", "MaxIntegral", "Integral"]),
    default="Integral",
    show_default=True,
    help="How average precision is computed.",
)
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1),
    default=0.5,
    show_default=True,
    help="The least score of detections that are counted in the confusion, and drawn.",
)
@click.option(
    "--examples",
    type=click.IntRange(0, 500),
    default=12,
    show_default=True,
    help="How many pictures there are of each kind.",
)
@net_options
@gpu_option
@reading_options
def command(
    logs: tuple[Path, ...], output: Path | None, model: Path | None, weights: Path | None, **options: Any
) -> None:
    """Show a training run as one HTML page that needs no other file and no network.

    LOG is the log of a run, Caffe's or that of `caffecompat train`: its losses, tests and rates as curves; several
    are drawn over each other. With --model and --weights the net is tested on the data that its own data layers
    read: detections come to average precisions, curves of precision and recall, a confusion of classes and
    background, and the best and worst examples on pictures; scores of classes to a confusion matrix and the worst
    mistakes; label maps to intersections over union.
    """
    from caffecompat.cli.files import keep_inputs
    from caffecompat.cli.report.making import Tested, make_page

    if not logs and model is None:
        raise UsageError("nothing to report", hint="give the LOG of a run, or --model and --weights, or all of them")
    if (model is None) != (weights is None):
        given, missing = ("--model", "--weights FILE") if weights is None else ("--weights", "--model NET.prototxt")
        raise UsageError(f"{given} is given without its other half", hint=f"add {missing}")
    source = logs[0] if logs else weights
    assert source is not None
    target = output or Path(source.name).with_suffix(".html")
    keep_inputs(target, [*logs, model, weights, options["labels"]])
    tested = Tested(model, weights, options) if model is not None and weights is not None else None
    size = make_page(logs, tested, target)
    tell(f"wrote {target} ({size:,} bytes)")
