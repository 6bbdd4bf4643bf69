"""Top-1 and top-k: where the true class stands among the scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from caffecompat.errors import ShapeError


def ranks(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """How many other classes have no lower score than the true one: 0 is the best; equal scores count against it.

    So BVLC's Accuracy layer counts; what is no number counts against it too.

    Args:
        scores: (N, classes).
        labels: the true classes, (N,).

    Raises:
        ShapeError: a label is no class.
    """
    classes = scores.shape[1]
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        raise ShapeError(f"expected labels from 0 to {classes - 1}, got {int(labels[wrong][0])}")
    own = scores[np.arange(len(labels)), labels][:, None]
    return np.asarray((~(scores < own)).sum(axis=1) - 1, np.int64)


class Tops:
    """How often the true class is the best one, or among the best.

    Args:
        top: how many are the best.

    Attributes:
        items: how many were counted.
    """

    def __init__(self, top: int) -> None:
        self.items = 0
        self._top = top
        self._first = 0
        self._among = 0

    def add(self, scores: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> None:
        """Count items: their scores (N, classes) and labels (N,)."""
        found = ranks(scores, labels)
        self.items += len(found)
        self._first += int((found == 0).sum())
        self._among += int((found < self._top).sum())

    @property
    def first(self) -> float:
        """Which part has its class as the best."""
        return self._first / self.items if self.items else float("nan")

    @property
    def among(self) -> float:
        """Which part has its class among the best."""
        return self._among / self.items if self.items else float("nan")
