"""Boxes drawn on pictures, with names and scores."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
# Successive hues lie this far apart, the golden section of the circle, so that neighbours differ.
HUE_STEP = 0.618034
# The shorter side of a picture, in pixels, on which letters have OpenCV's own size and lines are three pixels wide.
SIDE = 900
LEAST_SCALE = 0.4
LINE = 3
LEAST_LINE = 2
FONT = cv2.FONT_HERSHEY_SIMPLEX
LETTERS = (255, 255, 255)


@dataclass(frozen=True)
class DrawnBox:
    """What is drawn of one object.

    Attributes:
        label: its class, which decides the colour.
        name: the name of the class, or "".
        score: between 0 and 1.
        box: xmin, ymin, xmax, ymax in pixels of the picture.
    """

    label: int
    name: str
    score: float
    box: tuple[float, float, float, float]


def draw_boxes(image: Image, boxes: Sequence[DrawnBox]) -> Image:
    """A copy of a picture with boxes on it, those of the highest scores on top.

    Lines and letters grow with the picture; the text stands over the box, or inside where there is no room.

    Args:
        image: (height, width, 3) uint8, B, G, R.
        boxes: what is drawn; boxes may reach beyond the picture.
    """
    drawn = np.ascontiguousarray(image).copy()
    scale = max(LEAST_SCALE, min(image.shape[:2]) / SIDE)
    line = max(LEAST_LINE, round(min(image.shape[:2]) / SIDE * LINE))
    pen = max(1, round(scale * 2))
    limits = np.array([image.shape[1], image.shape[0]] * 2)
    for one in sorted(boxes, key=lambda box: box.score):
        colour = class_colour(one.label)
        left, top, right, bottom = np.clip(np.nan_to_num(one.box), -line, limits + line).round().astype(int).tolist()
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, line)
        text = f"{one.name or one.label} {one.score:.2f}"
        (width, height), below = cv2.getTextSize(text, FONT, scale, pen)
        start = max(0, min(left, image.shape[1] - width))
        base = top - below if top >= height + below else min(max(top, 0) + height, image.shape[0] - below)
        cv2.rectangle(drawn, (start, base - height), (start + width, base + below), colour, cv2.FILLED)
        cv2.putText(drawn, text, (start, base), FONT, scale, LETTERS, pen, cv2.LINE_AA)
    return np.asarray(drawn, dtype=np.uint8)


def class_colour(label: int) -> tuple[int, int, int]:
    """A colour (B, G, R) for a class, dark enough for white letters."""
    red, green, blue = colorsys.hsv_to_rgb(label * HUE_STEP % 1.0, 0.9, 0.7)
    return round(blue * 255), round(green * 255), round(red * 255)
