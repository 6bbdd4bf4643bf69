"""The scores of a picture's pixels, between the places of a net's output: interpolated, the best, refined."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from caffecompat.data.images import Image
from caffecompat.data.preprocessing import Floats
from caffecompat.data.segmentation.crf import Crf, refine

Labels = npt.NDArray[np.int32]
# Rows that are interpolated at once, so that all classes' scores of a large picture need not be held.
STRIPE = 64


@dataclass(frozen=True)
class PixelScores:
    """Scores of places, from which a picture's pixels have theirs by bilinear interpolation.

    Beyond the last place its value holds.

    Attributes:
        places: (classes, height, width).
        rows: for each row of the picture where it is among those of `places`.
        columns: likewise.
        probabilities: the scores are probabilities; else what a Softmax makes such of.
    """

    places: Floats
    rows: npt.NDArray[np.float64]
    columns: npt.NDArray[np.float64]
    probabilities: bool

    def values(self, start: int, stop: int) -> Floats:
        """The scores of some rows, (classes, rows, width)."""
        left, right, across = _neighbours(self.columns, self.places.shape[2])
        above, below, down = _neighbours(self.rows[start:stop], self.places.shape[1])
        down = down[:, np.newaxis]
        lines = (1 - down) * self.places[:, above] + down * self.places[:, below]
        return np.asarray((1 - across) * lines[:, :, left] + across * lines[:, :, right], dtype=np.float32)

    def log_probabilities(self, start: int, stop: int) -> Floats:
        """The logarithms of the probabilities of some rows, (classes, rows, width)."""
        values = self.values(start, stop)
        if self.probabilities:
            return np.asarray(np.log(np.maximum(values, np.finfo(np.float32).tiny)))
        values -= values.max(axis=0)
        return np.asarray(values - np.log(np.exp(values).sum(axis=0)))

    def labels(self) -> Labels:
        """The best class of each pixel, int32 (height, width)."""
        result = np.empty((len(self.rows), len(self.columns)), dtype=np.int32)
        for start in range(0, len(self.rows), STRIPE):
            result[start : start + STRIPE] = self.values(start, start + STRIPE).argmax(axis=0)
        return result

    def refined(self, image: Image, crf: Crf) -> Labels:
        """The best class of each pixel of this picture after the mean field of a dense CRF.

        Raises:
            ShapeError: the picture is too large for the field's standard deviations.
        """
        result = np.empty((len(self.rows), len(self.columns)), dtype=np.int32)
        for start, probabilities in refine(image, self, crf):
            result[start : start + probabilities.shape[1]] = probabilities.argmax(axis=0)
        return result


def _neighbours(
    places: npt.NDArray[np.float64], count: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Floats]:
    clipped = np.clip(places, 0, count - 1)
    first = np.floor(clipped).astype(np.intp)
    return first, np.minimum(first + 1, count - 1), (clipped - first).astype(np.float32)
