"""Where a window with its surroundings lies in a picture, and where in a crop (window_data_layer.cpp)."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

Window = tuple[int, int, int, int]
Pair = tuple[int, int]


class Placed(NamedTuple):
    """What is cut out, and where it is put.

    Attributes:
        window: (x1, y1, x2, y2) in the picture, both ends included.
        size: (height, width) it is warped to.
        top: the first row of the crop that it fills.
        left: the first column of the crop that it fills, once it is mirrored if it is to be.
    """

    window: Window
    size: Pair
    top: int = 0
    left: int = 0


def expanded(window: Window, crop: int, pad: int, square: bool, picture: Pair, mirror: bool) -> Placed:
    """A window grown so that, warped to the crop, `pad` pixels of its surroundings are on each side of it.

    What would lie beyond the picture stays empty in the crop. All is computed in single precision, as in the original.

    Args:
        window: (x1, y1, x2, y2), both ends included, x1 <= x2 and y1 <= y2.
        crop: the height and the width of the crop.
        pad: pixels of the crop; less than half of it.
        square: grow the shorter side to the longer one first.
        picture: (height, width).
        mirror: the window is to be mirrored left-right, and with it what is empty.
    """
    x1, y1, x2, y2 = window
    scale = np.float32(crop) / np.float32(crop - 2 * pad)
    half_height, half_width = (np.float32(size) / np.float32(2) for size in (y2 - y1 + 1, x2 - x1 + 1))
    center_x, center_y = np.float32(x1) + half_width, np.float32(y1) + half_height
    if square:
        half_height = half_width = max(half_height, half_width)
    across = _axis(center_x, half_width * scale, crop, picture[1])
    down = _axis(center_y, half_height * scale, crop, picture[0])
    left = across.after if mirror else across.before
    # What is rounded apart may be too much together.
    size = min(down.size, crop - down.before), min(across.size, crop - left)
    return Placed((across.first, down.first, across.last, down.last), size, down.before, left)


class _Axis(NamedTuple):
    """One direction: the part of the picture, both ends included; in the crop its size, and what is empty around."""

    first: int
    last: int
    size: int
    before: int
    after: int


def _axis(center: np.float32, half: np.float32, crop: int, length: int) -> _Axis:
    first, last = _round(center - half), _round(center + half)
    before, after = max(0, -first), max(0, last - length + 1)
    factor = np.float32(crop) / np.float32(last - first + 1)
    part = last - after - (first + before) + 1
    sizes = (_round(np.float32(count) * factor) for count in (part, before, after))
    return _Axis(first + before, last - after, *sizes)


def _round(value: np.float32) -> int:
    """C's round: halves away from zero."""
    return int(math.copysign(math.floor(abs(float(value)) + 0.5), value))
