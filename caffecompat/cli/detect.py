"""`caffecompat detect`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from caffecompat.cli.predict._options import picture_command

COLUMNS = ("image", "class", "name", "score", "xmin", "ymin", "xmax", "ymax")


@click.command("detect")
@picture_command("table jsonl csv npy coco")
@click.option(
    "--threshold", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="The least score to report."
)
@click.option(
    "--draw",
    type=click.Path(),
    metavar="DIR|FILE",
    help="Write the images and videos with the boxes on them: into a folder, or of one input to a file.",
)
def command(
    net: Path,
    weights: Path | None,
    inputs: tuple[Path, ...],
    *,
    threshold: float,
    draw: str | None,
    format_: str | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Find objects in images with an SSD: boxes in pixels of the image, with names and scores.

    INPUT is an image, a folder, a pattern or a video. With --format npy the rows of the file are: number of the
    image, class, score, xmin, ymin, xmax, ymax. The scores that the net itself drops stay dropped
    (confidence_threshold of its DetectionOutput layer). With --draw, images become PNG files in a folder (or what the
    suffix of the file says), and videos become videos.
    """
    from contextlib import nullcontext

    import numpy as np

    from caffecompat.cli.predict import _detect, _drawing, _session, _writers

    kind = _writers.choose_format(
        format_,
        output,
        {"table": (), "jsonl": (".jsonl",), "csv": (".csv",), "npy": (".npy",), "coco": (".json",)},
    )
    session, pictures = _session.start(net, weights, inputs, output, options)
    blob = _detect.detection_blob(session)
    drawings = None if draw is None else _drawing.Drawings(draw, pictures.files, options["every"])
    with pictures, drawings or nullcontext(), _writers.output(output) as stream:

        def found() -> Any:
            for items in pictures:
                results = _detect.detect(session, [item.image for item in items], blob, threshold)
                for item, detections in zip(items, results, strict=True):
                    if drawings is not None:
                        drawings.write(item, detections)
                    yield item, detections

        if kind == "coco":
            _writers.write_json(stream, _detect.coco(found(), session.preprocessing.labels))
        elif kind == "npy":
            rows = [
                (place, one.label, one.score, *one.box)
                for place, (_, detections) in enumerate(found())
                for one in detections
            ]
            _writers.write_arrays(stream, {"boxes": np.array(rows, np.float32).reshape(-1, _detect.ROW)}, kind)
        elif kind == "jsonl":
            lines = ({"image": item.name, "objects": [one.row() for one in detections]} for item, detections in found())
            _writers.write_rows(stream, lines, kind, COLUMNS)
        else:
            table = ({"image": item.name, **one.row()} for item, detections in found() for one in detections)
            _writers.write_rows(stream, table, kind, COLUMNS)
