"""Indexed PNG files: a picture of class numbers with a palette, as VOC's labels are.

OpenCV does not write them, and reads the palette's colours instead of the numbers.
"""

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
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_GREY, _INDEXED = 0, 3
# What stands after the signature: the length and the name of IHDR, its 13 bytes and their checksum.
_HEAD = struct.Struct(">I4sIIBBBBBI")


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
    return _SIGNATURE + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_indexed(path: str | os.PathLike[str], labels: npt.NDArray[np.integer], palette: Sequence[Colour]) -> None:
    """Write class numbers as an indexed PNG; see `encode_indexed`."""
    data = encode_indexed(labels, palette)
    with atomic_write(path) as file:
        file.write(data)


def without_palette(data: bytes) -> tuple[bytes, int] | None:
    """The file of an indexed PNG as one of a grey PNG, whose greys are the numbers of the colours.

    A decoder spreads fewer than eight bits over 0 to 255: its greys are to be divided by what is returned.

    Args:
        data: the file.

    Returns:
        The grey PNG and the divisor; None if `data` is no indexed PNG.
    """
    start = len(_SIGNATURE)
    if not data.startswith(_SIGNATURE) or len(data) < start + _HEAD.size:
        return None
    _, kind, width, height, depth, colour, *methods, _ = _HEAD.unpack_from(data, start)
    if kind != b"IHDR" or colour != _INDEXED or depth not in (1, 2, 4, 8):
        return None
    head = struct.pack(">IIBBBBB", width, height, depth, _GREY, *methods)
    parts = [_SIGNATURE, _chunk(b"IHDR", head)]
    at = start + _HEAD.size
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        # Of the others, those on colours would contradict a grey PNG.
        if kind in (b"IDAT", b"IEND"):
            parts.append(data[at : at + length + 12])
        at += length + 12
    return b"".join(parts), 255 // (2**depth - 1)
