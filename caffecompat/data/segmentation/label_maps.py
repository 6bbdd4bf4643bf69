"""Label maps from files: grey PNGs of class numbers, indexed PNGs, and pictures in the classes' colours."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from caffecompat.data.images import Image, decode, decode_image, read_encoded
from caffecompat.data.png import Colour, without_palette
from caffecompat.errors import FormatError

# What losses ignore, and where a picture has no class.
IGNORED = 255
# A class for each of the 2**24 colours; one beyond the classes, for colours that mean nothing.
_UNKNOWN = 256


class ColourTable:
    """The classes that colours stand for.

    Args:
        classes: the class, 0 to 255, of each colour (R, G, B).
        unknown: the class of every other colour; None makes these an error.
    """

    def __init__(self, classes: Mapping[Colour, int], unknown: int | None = None) -> None:
        self._classes = np.full(1 << 24, _UNKNOWN if unknown is None else unknown, np.uint16)
        for (red, green, blue), label in classes.items():
            self._classes[red << 16 | green << 8 | blue] = label

    @classmethod
    def of_palette(cls, palette: Sequence[Colour]) -> ColourTable:
        """A palette's colours as the classes from 0 on; of equal colours the first counts."""
        return cls({colour: label for label, colour in reversed(list(enumerate(palette)))})

    def labels(self, image: Image, path: str | os.PathLike[str]) -> Image:
        """The classes of a picture's pixels.

        Args:
            image: B, G, R.
            path: its file.

        Returns:
            uint8 (height, width).

        Raises:
            FormatError: a colour that stands for no class.
        """
        codes = image.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)
        labels = self._classes[codes]
        unknown = labels == _UNKNOWN
        if unknown.any():
            row, column = np.argwhere(unknown)[0].tolist()
            colour = tuple(image[row, column, ::-1].tolist())
            raise FormatError(
                f"{np.count_nonzero(unknown)} pixels have colours of no class, the first is R, G, B = {colour} at row "
                f"{row}, column {column}",
                file=path,
                hint="JPEG changes colours: label maps are PNGs",
            )
        return labels.astype(np.uint8)


def read_label_map(path: str | os.PathLike[str], colours: ColourTable | None = None) -> Image:
    """A label map, whatever its encoding.

    Of an indexed PNG the numbers are taken, not the palette; a grey picture holds the classes themselves; one in
    colours has those of `colours`.

    Args:
        path: the file.
        colours: the classes of colours; None where none can occur.

    Returns:
        uint8 (height, width).

    Raises:
        FormatError: it cannot be read; a class beyond 255; colours that stand for no class.
    """
    data = read_encoded(path)
    grey = without_palette(data.tobytes())
    if grey is not None:
        whole = decode_image(np.frombuffer(grey[0], np.uint8), path, grey=True)
        return np.asarray(whole // np.uint8(grey[1]), np.uint8)
    values = decode(data, path, cv2.IMREAD_UNCHANGED)
    if values.ndim == 3 and values.shape[2] > 1:
        return _of_colours(np.ascontiguousarray(values[:, :, :3]), path, colours)
    values = values.reshape(values.shape[:2])
    if values.dtype != np.uint8 and (not np.issubdtype(values.dtype, np.integer) or values.max(initial=0) > IGNORED):
        raise FormatError(
            f"expected classes from 0 to 255, got {values.dtype} up to {values.max(initial=0)}", file=path
        )
    return np.asarray(values, np.uint8)


def _of_colours(image: npt.NDArray[np.generic], path: str | os.PathLike[str], colours: ColourTable | None) -> Image:
    if image.dtype != np.uint8 or image.shape[2] != 3:
        raise FormatError(f"expected a label map, got {image.dtype} of {image.shape[2]} channels", file=path)
    pixels = np.asarray(image, np.uint8)
    if colours is not None:
        return colours.labels(pixels, path)
    if (pixels == pixels[:, :, :1]).all():
        return np.ascontiguousarray(pixels[:, :, 0])
    raise FormatError(
        "expected a label map, a grey or indexed PNG of classes, got a picture in colours",
        file=path,
        hint="save it as an indexed or grey PNG (`evaluate segmentation` also takes colours, with --palette)",
    )
