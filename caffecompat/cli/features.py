"""`caffecompat features`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from caffecompat.cli.predict._options import picture_command


@click.command("features")
@picture_command("npy npz jsonl")
@click.option(
    "--blob", "blobs", multiple=True, required=True, metavar="NAME", help="A blob of the net; may be repeated."
)
@click.option(
    "--pool",
    type=click.Choice(["none", "avg", "max"]),
    default="none",
    show_default=True,
    help="Reduce height and width to one value a channel.",
)
def command(
    net: Path,
    weights: Path | None,
    inputs: tuple[Path, ...],
    *,
    blobs: tuple[str, ...],
    pool: str,
    format_: str | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Save the values of blobs for images.

    INPUT is an image, a folder, a pattern or a video. A blob that layers change in place is meant as it is at the
    end (fc7 after its ReLU). An .npy file holds one blob for all images, (images, ...); an .npz file each blob by
    its name, and the images' names in "images"; JSON lines an object for each image.
    """
    import numpy as np

    from caffecompat.cli.predict import _features, _session, _writers

    known = {"jsonl": (".jsonl", ".json"), "npy": (".npy",), "npz": (".npz",)}
    kind = _writers.choose_format(format_, output, known)
    if kind == "npy":
        _writers.check_single(blobs)
    session, pictures = _session.start(net, weights, inputs, output, options)
    _features.keep(session, blobs)
    with pictures, _writers.output(output) as stream:
        found = (
            (item, values)
            for items in pictures
            for item, values in zip(items, _features.features(session, items, blobs, pool), strict=True)
        )
        if kind == "jsonl":
            _writers.write_rows(stream, ({"image": item.name, **values} for item, values in found), kind, ())
            return
        rows = list(found)
        arrays = {blob: _features.stack(blob, [values[blob] for _, values in rows]) for blob in blobs}
        if kind == "npz":
            arrays["images"] = np.array([item.name for item, _ in rows])
        _writers.write_arrays(stream, arrays, kind)
