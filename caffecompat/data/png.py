"""Indexed PNG files: a picture of class numbers with a palette, as VOC's labels are. OpenCV does not write them."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from caffecompat.errors import UsageError
from caffecompat.formats import atomic_write

MAX_CLASSES = 256
Colour = tuple[int, int, int]


def voc_palette(classes: int = MAX_CLASSES) -> tuple[Colour, ...]:
    """The colours (R, G, B) that PASCAL VOC gives its classes.

    The bits of the class number, three at a time, become the high bits of red, green and blue (VOC's devkit).
    """
    colours = []
    for index in range(classes):
        colour = [0, 0, 0]
        for bit in range(8):
            for channel in range(3):
                colour[channel] |= (index >> (3 * bit + channel) & 1) << (7 - bit)
        colours.append((colour[0], colour[1], colour[2]))
    return tuple(colours)


def encode_indexed(labels: npt.NDArray[np.integer], palette: Sequence[Colour]) -> bytes:
    """A PNG of colour type 3 (palette), 8 bits a pixel.

    Args:
        labels: classes from 0 to 255, (height, width).
        palette: a colour (R, G, B) for each class; classes beyond it are black.

    Raises:
        UsageError: a class beyond 255.
    """
    height, width = labels.shape
    most = int(labels.max(initial=0))
    if most >= MAX_CLASSES or int(labels.min(initial=0)) < 0:
        raise UsageError(f"an indexed PNG holds classes from 0 to 255, got one of {most}", hint="write .npz")
    full = [*palette[:MAX_CLASSES], *[(0, 0, 0)] * (most + 1 - len(palette))]
    rows = np.zeros((height, width + 1), dtype=np.uint8)
    rows[:, 1:] = labels
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", bytes(value for colour in full for value in colour)),
        (b"IDAT", zlib.compress(rows.tobytes(), 6)),
        (b"IEND", b""),
    )
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, data in chunks:
        parts += [struct.pack(">I", len(data)), kind, data, struct.pack(">I", zlib.crc32(kind + data))]
    return b"".join(parts)


def write_indexed(path: str | os.PathLike[str], labels: npt.NDArray[np.integer], palette: Sequence[Colour]) -> None:
    """Write class numbers as an indexed PNG; see `encode_indexed`."""
    data = encode_indexed(labels, palette)
    with atomic_write(path) as file:
        file.write(data)
