"""`caffecompat classify`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from caffecompat.cli.predict._options import picture_command

COLUMNS = ("image", "rank", "class", "name", "score")


@click.command("classify")
@picture_command("table jsonl csv npy")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many classes to show.")
@click.option("--blob", metavar="NAME", help="The output that holds the scores.")
@click.option("--oversample", is_flag=True, help="Average over ten crops of each image: corners, middle, and mirrored.")
def command(
    net: Path,
    weights: Path | None,
    inputs: tuple[Path, ...],
    *,
    top: int,
    blob: str | None,
    oversample: bool,
    format_: str | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Name what images show: the best classes of each with their scores.

    INPUT is an image, a folder, a pattern or a video. The image is resized, and the net's input cut out of the
    middle where --size (or the mean image) is larger: `--size 256` with an input of 227 is Caffe's usual way.
    With --format npy the file holds the scores of all classes, (images, classes).
    """
    import numpy as np

    from caffecompat.cli.predict import _classify, _session, _writers

    kind = _writers.choose_format(
        format_, output, {"table": (), "jsonl": (".jsonl", ".json"), "csv": (".csv",), "npy": (".npy",)}
    )
    session, pictures = _session.start(net, weights, inputs, output, options)
    blob = _classify.scores_blob(session, blob)
    with pictures, _writers.output(output) as stream:
        results = (
            (item, scores)
            for items in pictures
            for item, scores in zip(
                items, _classify.classify(session, [item.image for item in items], blob, oversample), strict=True
            )
        )
        if kind == "npy":
            _writers.write_arrays(stream, {"scores": np.stack([scores for _, scores in results])}, kind)
            return
        labels = session.preprocessing.labels

        def rows() -> Iterator[dict[str, Any]]:
            for item, scores in results:
                found = list(_classify.best(scores, top, labels))
                if kind == "jsonl":
                    yield {"image": item.name, "top": found}
                else:
                    yield from ({"image": item.name, **row} for row in found)

        _writers.write_rows(stream, rows(), kind, COLUMNS)
