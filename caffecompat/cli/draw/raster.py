"""A drawing as pixels, drawn by OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from caffecompat.cli.draw.canvas import FONTS, PAINTS, Arrow, Box, Drawing, Item, Line, Point, Text
from caffecompat.data.images import Image
from caffecompat.errors import UnsupportedError

# Pixels of the picture to one of the drawing, the first that gives no more pixels than can be held.
SCALES = (2.0, 1.5, 1.0, 0.75, 0.5)
MOST_PIXELS, MOST_SIDE = 40_000_000, 30_000
_FACE = cv2.FONT_HERSHEY_SIMPLEX
# At OpenCV's own size its letters are as high as those of a font of so many pixels.
_FACE_SIZE = 30.0
# Places are handed to OpenCV with so many binary digits after the point.
_DIGITS = 4


def raster(drawing: Drawing) -> Image:
    """A drawing as a picture, uint8 (height, width, 3) B, G, R.

    Raises:
        UnsupportedError: it is too large.
    """
    for scale in SCALES:
        height, width = round(drawing.height * scale), round(drawing.width * scale)
        if height * width <= MOST_PIXELS and max(height, width) <= MOST_SIDE:
            break
    else:
        raise UnsupportedError(
            f"the drawing has {drawing.width:.0f}x{drawing.height:.0f} pixels, too many for a PNG",
            hint="write .svg or .html",
        )
    pen = _Pen(np.full((height, width, 3), 255, np.uint8), scale)
    for group in drawing.groups:
        for item in group.items:
            pen.draw(item)
    return pen.pixels


class _Pen:
    """Draws items on pixels."""

    def __init__(self, pixels: Image, scale: float) -> None:
        self.pixels = pixels
        self._scale = scale

    def draw(self, item: Item) -> None:
        """Draw one item."""
        if isinstance(item, Box):
            self._box(item)
        elif isinstance(item, Text):
            self._text(item)
        elif isinstance(item, Line):
            self._polygon(item.points, item.kind, closed=False)
        elif isinstance(item, Arrow):
            self._polygon(((item.x, item.y), (item.x - 3.5, item.y - 7), (item.x + 3.5, item.y - 7)), "arrow")
        else:
            left, top = round(item.x * self._scale), round(item.y * self._scale)
            size = max(round(item.width * self._scale), 1), max(round(item.height * self._scale), 1)
            shrinks = size[0] < item.pixels.shape[1]
            small = cv2.resize(item.pixels, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
            part = self.pixels[top : top + size[1], left : left + size[0]]
            part[:] = small[: part.shape[0], : part.shape[1]]

    def _box(self, box: Box) -> None:
        left, top, right, bottom = box.x, box.y, box.x + box.width, box.y + box.height
        self._polygon(((left, top), (right, top), (right, bottom), (left, bottom)), box.kind)

    def _polygon(self, points: tuple[Point, ...], kind: str, *, closed: bool = True) -> None:
        paint = PAINTS[kind]
        limit = 2.0**30 / self._scale / (1 << _DIGITS)
        places = np.clip(np.array(points, np.float64), -limit, limit) * self._scale * (1 << _DIGITS)
        whole = places.round().astype(np.int32)
        if closed and paint.fill != "none":
            cv2.fillPoly(self.pixels, [whole], _colour(paint.fill), cv2.LINE_AA, _DIGITS)
        if paint.stroke != "none":
            thick = max(round(paint.width * self._scale), 1)
            cv2.polylines(self.pixels, [whole], closed, _colour(paint.stroke), thick, cv2.LINE_AA, _DIGITS)

    def _text(self, text: Text) -> None:
        # OpenCV's letters are those of ASCII.
        shown = text.text.replace("…", "..").encode("ascii", "replace").decode()
        font = FONTS[text.kind]
        size = font.size * self._scale / _FACE_SIZE
        thick = max(round((2.2 if font.bold else 1.2) * size), 1)
        (width, _), _ = cv2.getTextSize(shown, _FACE, size, thick)
        if text.width is not None and width > text.width * self._scale:
            size *= text.width * self._scale / width
            (width, _), _ = cv2.getTextSize(shown, _FACE, size, thick)
        before = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.anchor] * width
        place = round(text.x * self._scale - before), round(text.y * self._scale)
        cv2.putText(self.pixels, shown, place, _FACE, size, _colour(font.colour), thick, cv2.LINE_AA)


def _colour(text: str) -> tuple[int, int, int]:
    """#RRGGBB as B, G, R."""
    red, green, blue = (int(text[place : place + 2], 16) for place in (1, 3, 5))
    return blue, green, red
