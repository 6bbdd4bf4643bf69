"""Detections as files of results are read, row by row."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence

import numpy as np

from caffecompat.detection.ground_truth import Found
from caffecompat.errors import FormatError, quoted

MAX_BYTES = 1 << 31
# Pixels; beyond it areas are no longer exact.
MAX_CORNER = 1e9


class Rows:
    """Detections as they are read, and the names of their images and classes.

    Attributes:
        files: see `Found`.
        titles: see `Found`.
    """

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.titles: dict[str, str] = {}
        self._images: dict[str, int] = {}
        self._classes: dict[str, int] = {}
        self._places = array("q")
        self._values = array("d")
        self._listed = False

    def image(self, name: str, file: str | None = None) -> None:
        """An image that was looked at, whether it has detections or not.

        Args:
            name: what detections call it.
            file: the name of its file.

        Raises:
            FormatError: it was told before.
        """
        if name in self._images:
            raise FormatError(f"the image {quoted(name)} stands twice")
        self._listed = True
        self._images[name] = len(self._images)
        if file is not None:
            self.files[name] = file

    def title(self, label: str, name: str) -> None:
        """The name of a class; empty if it is not said.

        Raises:
            FormatError: it was told before, and is another one.
        """
        before = self.titles.setdefault(label, name)
        if before != name:
            raise FormatError(f"the class {quoted(label)} is {quoted(before)} already, and {quoted(name)} again")

    def add(self, image: str, category: str, score: float, box: Sequence[float]) -> None:
        """Take one.

        Args:
            image: what its image is called.
            category: what its class is called.
            score: its score.
            box: left, top, width and height, in pixels.

        Raises:
            ValueError: a number is none that a detection can have.
        """
        if not math.isfinite(score) or not all(abs(value) <= MAX_CORNER for value in box):
            raise ValueError
        self._places.append(self._images.setdefault(image, len(self._images)))
        self._places.append(self._classes.setdefault(category, len(self._classes)))
        self._values.append(score)
        self._values.extend(box)

    def found(self) -> Found:
        """What was taken."""
        places = np.array(self._places, np.int64).reshape(-1, 2)
        values = np.array(self._values, np.float64).reshape(-1, 5)
        return Found(
            classes=tuple(self._classes),
            images=tuple(self._images),
            image=places[:, 0],
            label=places[:, 1],
            scores=values[:, 0],
            boxes=values[:, 1:],
            files=self.files,
            titles=self.titles,
            listed=self._listed,
        )
