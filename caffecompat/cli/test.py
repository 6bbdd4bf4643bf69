"""`caffecompat test`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli.caffe_flags import CaffeCommand
from caffecompat.cli.errors import tell
from caffecompat.cli.options import net_options, python_option, reading_options
from caffecompat.cli.progress import Progress
from caffecompat.cli.reading import (
    check_read,
    device_of,
    gpu_option,
    model_argument,
    open_reading_net,
    tell_skipped,
)
from caffecompat.errors import UsageError, shown

if TYPE_CHECKING:
    from caffecompat.cli.scoring import Scoring

# Of an output with more values than these, not all are listed: of its means, and of what one batch gives.
MAX_LISTED = 1000
MAX_IN_BATCH = 100


@click.command("test", cls=CaffeCommand)
@model_argument
@net_options
@python_option
@gpu_option
@reading_options
@click.option(
    "--iterations",
    "--test-iter",
    "iterations",
    type=click.IntRange(1),
    default=50,
    show_default=True,
    help="How many batches are passed.",
)
@click.option(
    "--ap-version",
    type=click.Choice(["11point", "MaxIntegral", "Integral"]),
    default="Integral",
    show_default=True,
    help="How average precision is computed, for nets with DetectionEvaluate.",
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the results here as well."
)
def command(
    net: Path,
    weights: Path | None,
    gpu: str | None,
    iterations: int,
    ap_version: str,
    json_file: Path | None,
    **options: Any,
) -> None:
    """Score a net on the data that its own data layers read: the means of its outputs, and of its loss.

    As `caffe test`: the outputs of each batch go to stderr, the means over all batches to stdout. What
    DetectionEvaluate gives becomes the average precision of each class, and their mean.
    """
    from contextlib import closing

    import torch

    from caffecompat.cli.files import keep_inputs
    from caffecompat.cli.predict._writers import output, write_json
    from caffecompat.cli.scoring import Scoring

    if weights is None:
        raise UsageError("no weights: give --weights FILE")
    keep_inputs(json_file, [net, weights])
    with closing(open_reading_net(net, weights, device=device_of(gpu), results=True, **options)) as made:
        check_read(made)
        scoring = Scoring(made, ap_version)
        with Progress(iterations, "batches") as progress, torch.inference_mode():
            for batch in range(iterations):
                outputs = scoring.add(made())
                for name, values in outputs.items():
                    for value in values[:MAX_IN_BATCH]:
                        progress.line(f"Batch {batch}, {shown(name)} = {value:.6g}")
                progress.add()
        tell_skipped(made)
    for line in _lines(scoring, ap_version):
        click.echo(line)
    if json_file is not None:
        with output(json_file) as stream:
            write_json(stream, {"net": str(net), "weights": str(weights), **scoring.result()})


def _lines(scoring: Scoring, ap_version: str) -> list[str]:
    """The means as `caffe test` writes them, and average precisions."""
    from caffecompat.detection.average_precision import mean_of

    lines = [f"Loss: {scoring.loss:.6g}"]
    for name, mean in scoring.means().items():
        if len(mean) > MAX_LISTED:
            tell(f"{shown(name)} has {len(mean)} values, of which {MAX_LISTED} are listed; --json FILE holds all")
        weight = scoring.weights.get(name, 0.0)
        for value in mean[:MAX_LISTED]:
            share = f" (* {weight:.6g} = {weight * value:.6g} loss)" if weight else ""
            lines.append(f"{shown(name)} = {value:.6g}{share}")
    for name, found in scoring.detections.items():
        precisions = found.by_label()
        lines += [f"class{label}: {precision:.6g}" for label, precision in precisions.items()]
        lines.append(f"{shown(name)} = {mean_of(precisions):.6g} (mAP, {ap_version})")
    for name in scoring.uneven:
        tell(f"{shown(name)} changes its size from batch to batch: it has no mean")
    return lines
