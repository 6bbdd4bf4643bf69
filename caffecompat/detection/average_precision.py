"""Average precision: how well the detections of a class are ranked.

Source of the rules: ComputeAP of the SSD branch, bbox_util.cpp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.errors import UsageError, did_you_mean, quoted

Array = npt.NDArray[Any]
# VOC 2007's; VOC 2012's and ILSVRC's; the natural integral.
AP_VERSIONS = ("11point", "MaxIntegral", "Integral")
# Rows of DetectionEvaluate: item, label, score, true positive, false positive; or -1, label, boxes to find, -1, -1.
ROW = 5
_EPS = 1e-6


def precision_recall(scores: Array, true: Array, positives: int) -> tuple[Array, Array]:
    """The curve of precision over recall.

    Args:
        scores: (N,) of the detections that count, in any order.
        true: (N,) whether each is right.
        positives: how many boxes there are to find.

    Returns:
        (N,) precision and (N,) recall, float32, of the detections in the order of falling score; equal scores keep
        their order.
    """
    order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
    right = np.cumsum(np.asarray(true, bool)[order], dtype=np.int64)
    precision = right / np.arange(1, len(right) + 1)
    return precision.astype(np.float32), (right / max(positives, 1)).astype(np.float32)


def average_precision(scores: Array, true: Array, positives: int, version: str = "Integral") -> float:
    """The average precision of one class.

    Args:
        scores: (N,) of the detections that count, in any order.
        true: (N,) whether each is right.
        positives: how many boxes there are to find.
        version: "11point", "MaxIntegral" or "Integral".

    Returns:
        The average precision; 0 without detections or without boxes to find.

    Raises:
        UsageError: the version is not known.
    """
    if version not in AP_VERSIONS:
        hint = did_you_mean(version, AP_VERSIONS) or f"ap_version is one of {', '.join(AP_VERSIONS)}"
        raise UsageError(f"ap_version {quoted(version)} is not known", hint=hint)
    if not len(scores) or positives < 1:
        return 0.0
    precision, recall = precision_recall(scores, true, positives)
    if version == "11point":
        levels = np.arange(11) / 10
        return float(sum(precision[recall >= level].max(initial=0.0) for level in levels) / 11)
    steps = np.diff(recall.astype(np.float64), prepend=0.0)
    steps[np.abs(steps) <= _EPS] = 0
    if version == "MaxIntegral":
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((steps * precision).sum())


@dataclass(frozen=True)
class Detected:
    """The detections of a class that count.

    Attributes:
        scores: (N,) float32.
        true: (N,) whether each is right.
        positives: how many boxes there are to find.
    """

    scores: Array
    true: Array
    positives: int


class AveragePrecisions:
    """What rows of DetectionEvaluate, gathered over many passes, come to. (Solver::TestDetection of the SSD branch.).

    Args:
        version: the way of computing average precision.
    """

    def __init__(self, version: str = "Integral") -> None:
        self._version = version
        self._rows: list[npt.NDArray[np.float32]] = []

    def add(self, rows: npt.NDArray[np.float32]) -> None:
        """Take the rows (..., 5) of one pass."""
        self._rows.append(np.array(rows, np.float32).reshape(-1, ROW))

    def by_label(self) -> dict[int, float]:
        """The average precision of each class that the rows state a number of boxes for, found or not.

        Detections that are neither right nor wrong, as those of difficult boxes, do not count.
        """
        return {
            label: average_precision(own.scores, own.true, own.positives, self._version)
            for label, own in self.of_labels().items()
        }

    def of_labels(self) -> dict[int, Detected]:
        """Of each class that the rows state a number of boxes for, what `by_label` computes from."""
        rows = np.concatenate(self._rows) if self._rows else np.empty((0, ROW), np.float32)
        stated = rows[rows[:, 0] == -1]
        detections = rows[(rows[:, 0] != -1) & ((rows[:, 3] != 0) | (rows[:, 4] != 0))]
        found = {}
        for label in sorted({int(label) for label in stated[:, 1]}):
            own = detections[detections[:, 1] == label]
            found[label] = Detected(own[:, 2], own[:, 3] != 0, int(stated[stated[:, 1] == label, 2].sum()))
        return found


def mean_of(precisions: Mapping[int, float]) -> float:
    """The mean average precision over classes; 0 of none."""
    return sum(precisions.values()) / max(len(precisions), 1)
