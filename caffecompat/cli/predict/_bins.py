"""Files of floats that BinLabelData reads: a blob for whole pictures, put together from tiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from caffecompat.cli.errors import tell
from caffecompat.cli.predict import _features, _pictures, _segment, _session
from caffecompat.data.sources.bin_label import write_bin
from caffecompat.errors import UsageError, quoted
from caffecompat.formats import atomic_write

LIST = "features.txt"


def write(
    net: Path,
    weights: Path | None,
    inputs: Sequence[Path],
    blobs: Sequence[str],
    pool: str,
    output: Path | None,
    options: Mapping[str, Any],
) -> None:
    """Write `output`/NAME.bin for each picture, and at last the list of them, features.txt, in the pictures' order.

    Args:
        net: the net.
        weights: its weights.
        inputs: files, folders and patterns.
        blobs: the one blob.
        pool: "none".
        output: the folder.
        options: the values of the other options; `batch` counts tiles.

    Raises:
        UsageError: several blobs, a pooled one, or no folder; a list cannot hold its path.
        CaffeCompatError: a file is at fault.
    """
    if output is None:
        raise UsageError("--format bin writes a file for each image: give a folder with -o")
    if len(blobs) != 1 or pool != "none":
        raise UsageError("--format bin holds one blob as it is: give --blob once, and no --pool")
    folder = output.absolute()
    if len(str(folder).split()) != 1:
        raise UsageError(f"white space ends a name in lists, and {quoted(str(folder))} holds some")
    session, pictures = _session.start(net, weights, inputs, output / LIST, {**options, "batch": 1})
    _features.keep(session.net, blobs)
    segmenter = _segment.Segmenter(session, blobs[0], None, None, options["batch"])
    target = _pictures.Folder(folder, pictures.files)
    names: list[Path] = []
    with pictures:
        for (item,) in pictures:
            path = target.named("_".join(item.stem.split()), ".bin")
            write_bin(path, segmenter.features(item.image))
            names.append(path)
        with atomic_write(folder / LIST) as file:
            file.write("".join(f"{name}\n" for name in names).encode())
    tell(f"wrote {len(names)} files, which {output / LIST} lists")
