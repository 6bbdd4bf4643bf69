"""Average precision: how well the detections of a class are ranked.

Source of the rules: ComputeAP of the SSD branch, bbox_util.cpp.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.errors import UsageError, did_you_mean, quoted

Array = npt.NDArray[Any]
# VOC 2007's; VOC 2012's and ILSVRC's; the natural integral.
AP_VERSIONS = ("11point", "MaxIntegral", "Integral")
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
