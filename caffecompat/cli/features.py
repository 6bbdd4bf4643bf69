"""`caffecompat features`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from caffecompat.cli.options import reading_options
from caffecompat.cli.predict._options import picture_command
from caffecompat.errors import UsageError

KNOWN = {"jsonl": (".jsonl", ".json"), "npy": (".npy",), "npz": (".npz",), "lmdb": (".lmdb",), "bin": ()}
OF_IMAGES = ("batch", "channels", "every", "interpolation", "keep_going", "labels", "mean", "resize", "scale", "size")
OF_BATCHES = ("root", "skip_bad_records", "workers")


@click.command("features")
@picture_command("npy npz jsonl lmdb bin", needs_input=False, engines=False)
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
@click.option(
    "--batches",
    type=click.IntRange(1),
    metavar="N",
    help="In the place of INPUT: take so many batches from the net's own data layers.",
)
@reading_options
def command(
    net: Path,
    weights: Path | None,
    inputs: tuple[Path, ...],
    *,
    blobs: tuple[str, ...],
    pool: str,
    batches: int | None,
    format_: str | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Save the values of blobs for images, or for what the net's own data layers read (extract_features).

    INPUT is an image, a folder, a pattern, a list (.txt) or a video. A blob that layers change in place is meant as it
    is at the end (fc7 after its ReLU). An .npy file holds one blob for all images, (images, ...); an .npz file each
    blob by its name, and the images' names in "images"; JSON lines an object for each image.

    `--format bin -o DIR` writes what BinLabelData reads: DIR/NAME.bin for each image, and DIR/features.txt, the list of
    them. The image passes as in `segment`, in tiles where the blob lacks a margin; --batch counts tiles.

    With --batches, `-o DIR.lmdb` is a database of Datums with float_data, as extract_features writes it. Of several
    blobs each becomes one: `-o FIRST.lmdb,SECOND.lmdb`, or in the folder DIR.lmdb one for each, named as the blob.
    """
    from caffecompat.cli.predict import _batches, _writers

    kind = _writers.choose_format(format_, output, KNOWN)
    if kind == "npy":
        _writers.check_single(blobs)
    if batches is None:
        _refuse(OF_BATCHES, "belongs to --batches")
        if not inputs:
            raise UsageError("missing INPUT: give images, or --batches N to read the net's own data layer")
        if kind == "lmdb":
            raise UsageError("a database is written of --batches only", hint="write .npy or .npz of images")
        if kind == "bin":
            from caffecompat.cli.predict import _bins

            _bins.write(net, weights, inputs, blobs, pool, output, _preparing(options))
            return
        _of_images(net, weights, inputs, blobs, pool, kind, output, options)
        return
    if inputs:
        raise UsageError("give either INPUT or --batches, not both")
    if kind == "bin":
        raise UsageError("--format bin is of images, not of --batches")
    _refuse(OF_IMAGES, "is of images; with --batches, the net's data layer prepares them")
    _batches.write(net, weights, batches, blobs, pool, kind, output, options)


def _refuse(names: Iterable[str], reason: str) -> None:
    """Refuse options that have no meaning here."""
    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise UsageError(f"--{name.replace('_', '-')} {reason}")


def _preparing(options: dict[str, Any]) -> dict[str, Any]:
    """The options that images are of."""
    return {name: value for name, value in options.items() if name not in OF_BATCHES}


def _of_images(
    net: Path,
    weights: Path | None,
    inputs: tuple[Path, ...],
    blobs: tuple[str, ...],
    pool: str,
    kind: str,
    output: Path | None,
    options: dict[str, Any],
) -> None:
    import numpy as np

    from caffecompat.cli.predict import _features, _session, _writers

    session, pictures = _session.start(net, weights, inputs, output, _preparing(options))
    _features.keep(session.net, blobs)
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
