"""`caffecompat segment`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from caffecompat.cli.predict._crf_options import crf_of, crf_options
from caffecompat.cli.predict._options import picture_command

COLUMNS = ("image", "class", "name", "pixels", "share")


@click.command("segment")
@picture_command("table jsonl csv npz png")
@click.option("--blob", metavar="NAME", help="The output that holds the scores.")
@click.option("--zoom", type=click.IntRange(1), help="How many input pixels an output pixel stands for, each way.")
@click.option("--label-margin", type=click.IntRange(0), help="How many input pixels on each side have no output.")
@crf_options
@click.option("--palette", metavar="voc|FILE.json", help="The classes' colours: VOC's, or of a dilation net's .json.")
@click.option(
    "--save-images", type=click.Path(path_type=Path, file_okay=False), metavar="DIR", help="Write indexed PNGs here."
)
@click.option("--overlay", is_flag=True, help="With --save-images, write the image with the colours over it too.")
@click.option(
    "--opacity", type=click.FloatRange(0, 1), default=0.6, show_default=True, help="Of the overlay's colours."
)
def command(
    net: Path,
    weights: Path | None,
    inputs: tuple[Path, ...],
    *,
    blob: str | None,
    zoom: int | None,
    label_margin: int | None,
    palette: str | None,
    save_images: Path | None,
    overlay: bool,
    opacity: float,
    format_: str | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Label every pixel of images.

    A net whose output lacks a margin (the dilation nets: 186 pixels) gets the image in tiles that overlap by it,
    mirrored at the edges; `--mean pascal_voc.json` gives such a net its mean, palette, zoom and margin. Any other
    net gets the whole image, resized. Written are each class's share of the image, or with `-o FILE.png` the
    labels of one image as an indexed PNG, with `-o FILE.npz` those of all; --batch counts tiles.
    """
    from caffecompat.cli.predict import _classify, _pictures, _segment, _session, _writers
    from caffecompat.data.means import read_palette
    from caffecompat.data.png import encode_indexed
    from caffecompat.errors import UsageError

    kind = _writers.choose_format(
        format_,
        output,
        {"table": (), "jsonl": (".jsonl", ".json"), "csv": (".csv",), "npz": (".npz",), "png": (".png",)},
    )
    if overlay and save_images is None:
        raise UsageError("--overlay goes with --save-images DIR")
    colours = None if palette is None else read_palette(palette)
    batch, crf = options["batch"], crf_of(options)
    session, pictures = _session.start(net, weights, inputs, output, {**options, "batch": 1})
    segmenter = _segment.Segmenter(session, _classify.scores_blob(session, blob), zoom, label_margin, batch, crf)
    colours = _segment.palette_of(segmenter.settings, colours)
    folder = None if save_images is None else _pictures.Folder(save_images, pictures.files)

    def labelled() -> Iterator[tuple[Any, Any]]:
        for (item,) in pictures:
            labels = segmenter.label(item.image)
            if folder is not None:
                folder.write_labels(item, labels, colours)
                if overlay:
                    folder.write(item, _segment.overlay(item.image, labels, colours, opacity), "_overlay")
            yield item, labels

    with pictures, _writers.output(output) as stream:
        if kind == "png":
            found = list(labelled())
            if len(found) != 1:
                raise UsageError(f"a .png holds the labels of one image, not of {len(found)}", hint="see --save-images")
            stream.write(encode_indexed(found[0][1], colours))
        elif kind == "npz":
            _writers.write_arrays(stream, {item.name: labels for item, labels in labelled()}, kind)
        else:
            names = session.preprocessing.labels
            shares = ((item, _segment.shares(labels, names)) for item, labels in labelled())
            if kind == "jsonl":
                rows: Any = ({"image": item.name, "classes": found} for item, found in shares)
            else:
                rows = ({"image": item.name, **share} for item, found in shares for share in found)
            _writers.write_rows(stream, rows, kind, COLUMNS)
    if folder is not None:
        folder.tell_written()
