"""Where a picture lies in a net's input: the rules of resizing (im_transforms.cpp of the SSD branch)."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

from caffecompat.errors import ShapeError

Resize = Literal["warp", "fit_small", "fit_large_pad"]
Size = tuple[int, int]

MAX_PIXELS = 1 << 28


class Geometry(NamedTuple):
    """Where a picture's pixels lie in the net's input: input = pixel * scale + offset, each way."""

    scale_y: float
    scale_x: float
    offset_y: float
    offset_x: float


class Layout(NamedTuple):
    """The size that a picture is resized to, and how many rows and columns are put around it then."""

    size: Size
    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    @property
    def padded(self) -> Size:
        """(height, width) with what is put around."""
        return self.size[0] + self.top + self.bottom, self.size[1] + self.left + self.right


def layout(height: int, width: int, size: Size | None, resize: Resize) -> Layout:
    """How a picture of `height` x `width` comes to lie in `size`, (height, width); None leaves it as it is.

    Raises:
        ShapeError: no pixel would be left of it, or too many would come of it.
    """
    if size is None:
        return Layout((height, width))
    if resize == "warp":
        return Layout(size)
    # im_transforms.cpp: the aspects are single floats, and sizes are rounded down.
    aspect = np.float32(width) / np.float32(height)
    wanted = np.float32(size[1]) / np.float32(size[0])
    by_width = aspect < wanted if resize == "fit_small" else aspect > wanted
    if by_width:
        rows, columns = math.floor(np.float32(size[1]) / aspect), size[1]
    else:
        rows, columns = size[0], math.floor(aspect * np.float32(size[0]))
    if rows < 1 or columns < 1 or rows * columns > MAX_PIXELS:
        raise ShapeError(f"an image of {height}x{width} would be resized to {rows}x{columns}")
    if resize == "fit_small":
        return Layout((rows, columns))
    top, left = (size[0] - rows) // 2, (size[1] - columns) // 2
    return Layout((rows, columns), top, size[0] - rows - top, left, size[1] - columns - left)
