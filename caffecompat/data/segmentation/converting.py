"""Label maps of data sets as those that ImageLabelData reads: grey PNGs of class numbers, 255 where there is none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from caffecompat.data.images import Image, read_image
from caffecompat.data.png import Colour
from caffecompat.data.segmentation.label_maps import IGNORED, ColourTable, read_label_map
from caffecompat.errors import CaffeCompatError, FormatError

Convert = Callable[[Path], Image]


@dataclass(frozen=True)
class Pair:
    """A picture and its label map.

    Attributes:
        name: what the new label map is called, without a suffix.
        image: the picture.
        label: the label map as it is; None if the split has none.
    """

    name: str
    image: Path
    label: Path | None


def by_numbers(numbers: Mapping[int, int]) -> Convert:
    """Reads label maps whose numbers stand for other ones.

    Args:
        numbers: the class of each number that may occur.
    """
    table = np.full(256, -1, np.int16)
    table[list(numbers)] = list(numbers.values())

    def convert(path: Path) -> Image:
        found = read_label_map(path)
        labels = table[found]
        if labels.min(initial=0) < 0:
            worst = int(found[labels < 0].min())
            raise FormatError(f"{np.count_nonzero(labels < 0)} pixels have a number of no class, {worst}", file=path)
        return labels.astype(np.uint8)

    return convert


def by_colours(colours: Mapping[Colour, int], ignore_unknown: bool) -> Convert:
    """Reads label maps in colours.

    Args:
        colours: the class of each colour.
        ignore_unknown: pixels of other colours get 255; else they are an error.
    """
    table = ColourTable(colours, IGNORED if ignore_unknown else None)

    def convert(path: Path) -> Image:
        return table.labels(read_image(path), path)

    return convert


def converted(pair: Pair, convert: Convert) -> bytes | None:
    """The new label map of a pair whose files are sound: a grey PNG, or None if there is no label map.

    Raises:
        FormatError: a file cannot be read, or the sizes differ.
    """
    image = read_image(pair.image)
    if pair.label is None:
        return None
    labels = convert(pair.label)
    if labels.shape != image.shape[:2]:
        raise FormatError(
            f"expected a label map as large as its picture, {_by(image)}, got {_by(labels)}", file=pair.label
        )
    good, data = cv2.imencode(".png", labels)
    if not good:
        raise CaffeCompatError("OpenCV could not encode the label map", file=pair.label)
    return data.tobytes()


def _by(image: Image) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"
