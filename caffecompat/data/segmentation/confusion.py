"""Confusion of classes, pixel by pixel, and what is computed of it: intersection over union, accuracies.

Source of the measures: Everingham et al., The PASCAL VOC Challenge (intersection over union); Long, Shelhamer, Darrell:
Fully Convolutional Networks for Semantic Segmentation (the other accuracies).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from caffecompat.errors import ShapeError

Ints = npt.NDArray[np.integer]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Measures:
    """What a confusion comes to; nan where there is nothing to divide by.

    Attributes:
        iou: intersection over union of each class; nan of a class that neither is there nor was found.
        accuracy: which part of each class's pixels was found; nan of a class that is not there.
        mean_iou: over the classes that have one.
        mean_accuracy: over the classes that are there.
        pixel_accuracy: which part of all pixels is right.
        weighted_iou: each class's intersection over union by its part of the pixels.
    """

    iou: Floats
    accuracy: Floats
    mean_iou: float
    mean_accuracy: float
    pixel_accuracy: float
    weighted_iou: float


class Confusion:
    """How often pixels of a class (row) were taken for a class (column); the last column is what is no class.

    Args:
        classes: how many there are.
        ignored: labels of pixels that do not count.

    Attributes:
        counts: int64 (classes, classes + 1).
    """

    def __init__(self, classes: int, ignored: Collection[int] = (255,)) -> None:
        self.counts = np.zeros((classes, classes + 1), np.int64)
        self._ignored = np.array(sorted(ignored), np.int64)

    @property
    def classes(self) -> int:
        """How many there are."""
        return len(self.counts)

    @property
    def found(self) -> npt.NDArray[np.int64]:
        """How many pixels that count were taken for each class."""
        return np.asarray(self.counts.sum(0)[:-1])

    @property
    def true(self) -> npt.NDArray[np.int64]:
        """How many pixels each class has."""
        return np.asarray(self.counts.sum(1))

    def add(self, found: Ints, true: Ints) -> None:
        """Count the pixels of a picture.

        Args:
            found: the classes that were found, (height, width); what is no class is wrong wherever it stands.
            true: the classes that are there, of the same size.

        Raises:
            ShapeError: the sizes differ, or a label is neither a class nor ignored.
        """
        if found.shape != true.shape:
            raise ShapeError(f"expected a result as large as its label map, {_by(true)}, got {_by(found)}")
        counted = ~np.isin(true, self._ignored)
        rows, columns = true[counted].astype(np.int64), found[counted].astype(np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.classes:
            worst = int(rows.max()) if rows.max() >= self.classes else int(rows.min())
            raise ShapeError(
                f"expected labels from 0 to {self.classes - 1}, or ignored ones, got {worst}",
                hint="see --classes and --ignore",
            )
        columns[(columns < 0) | (columns >= self.classes)] = self.classes
        places = rows * (self.classes + 1) + columns
        self.counts += np.bincount(places, minlength=self.counts.size).reshape(self.counts.shape)

    def trimmed(self) -> Confusion:
        """The same of the classes up to the last that is there or, but for ignored labels, was found."""
        seen = self.true + self.found
        seen[self._ignored[self._ignored < self.classes]] = 0
        classes = int(seen.nonzero()[0].max(initial=0)) + 1
        small = Confusion(classes, self._ignored.tolist())
        small.counts[:, :classes] = self.counts[:classes, :classes]
        small.counts[:, classes] = self.counts[:classes, classes:].sum(1)
        return small

    def measures(self) -> Measures:
        """What the pixels counted so far come to."""
        right = np.diagonal(self.counts).astype(np.float64)
        true, found = self.true.astype(np.float64), self.found.astype(np.float64)
        with np.errstate(invalid="ignore"):
            iou = right / (true + found - right)
            accuracy = right / true
        total = float(true.sum())
        there = true > 0
        return Measures(
            iou,
            accuracy,
            _mean(iou),
            _mean(accuracy),
            float(right.sum()) / total if total else float("nan"),
            float((true[there] * iou[there]).sum()) / total if total else float("nan"),
        )


def _mean(values: Floats) -> float:
    """The mean of those that are numbers."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _by(labels: Ints) -> str:
    return "x".join(map(str, labels.shape))
