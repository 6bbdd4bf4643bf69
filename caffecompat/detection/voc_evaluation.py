"""Average precision over a data set, as the devkits of VOC and ILSVRC compute it.

Source of the rules: VOCevaldet.m and VOCap.m of the VOC devkits, eval_detection.m of ILSVRC's; Integral is that of
ComputeAP in bbox_util.cpp of the SSD branch. Boxes are in pixels, and both ends count: a box from 3 to 3 is one wide.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from caffecompat.detection.average_precision import AP_VERSIONS
from caffecompat.detection.ground_truth import Doubles, Flags, Found, Ints, Truth
from caffecompat.errors import FormatError, UsageError, did_you_mean, quoted

Metric = Literal["voc", "ilsvrc"]
# ILSVRC lets small boxes be off by so many pixels.
TOLERANCE = 10
# Of detections and boxes of a class in one image.
MAX_PAIRS = 1 << 23


@dataclass(frozen=True)
class ClassResult:
    """What came of one class.

    Attributes:
        name: of the class.
        boxes: how many there are to find.
        detections: how many there are.
        precision: (N,) after each detection that counts, in the order of falling score.
        recall: (N,) likewise.
        average_precision: None if there is nothing to find.
    """

    name: str
    boxes: int
    detections: int
    precision: Doubles
    recall: Doubles
    average_precision: float | None


def evaluate(
    found: Found, truth: Truth, *, metric: Metric = "voc", version: str = "MaxIntegral", overlap: float = 0.5
) -> list[ClassResult]:
    """The results of all classes of the truth.

    VOC: a detection is right if the box of its image and class that it overlaps most, by `overlap` at least, is not
    taken by one of a higher score; of a difficult box it does not count. ILSVRC: it may take the best of the boxes that
    are free, and of a small box the overlap may be less.

    Args:
        found: the detections, counted as the truth's images and classes.
        truth: what is to be found.
        metric: whose rules.
        version: "11point", "MaxIntegral" or "Integral".
        overlap: least overlap.

    Raises:
        UsageError: the version is not known, or the overlap is none.
        FormatError: an image has more detections than can be compared.
    """
    if version not in AP_VERSIONS:
        hint = did_you_mean(version, AP_VERSIONS) or f"it is one of {', '.join(AP_VERSIONS)}"
        raise UsageError(f"the version of average precision {quoted(version)} is not known", hint=hint)
    if not 0 < overlap <= 1:
        raise UsageError(f"expected an overlap above 0 and up to 1, got {overlap}")
    return [_class_result(found, truth, label, metric, version, overlap) for label in range(len(truth.classes))]


def mean_average_precision(results: list[ClassResult]) -> float:
    """The mean over the classes that have boxes to find; 0 if none has."""
    values = [result.average_precision for result in results if result.average_precision is not None]
    return float(np.mean(values)) if values else 0.0


def average_precision(right: Ints, count: int, positives: int, version: str) -> float:
    """The average precision of one class.

    Args:
        right: (N,) how many of the detections were right, up to each one.
        count: N.
        positives: how many boxes there are to find, at least 1.
        version: "11point", "MaxIntegral" or "Integral".
    """
    precision = right / np.arange(1, count + 1)
    if version == "11point":
        # In whole numbers: a recall of 7 of 10 reaches the level 0.7.
        reached = [precision[10 * right >= level * positives] for level in range(11)]
        return float(sum(part.max(initial=0.0) for part in reached) / 11)
    if version == "MaxIntegral":
        precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(right, prepend=0) * precision).sum() / positives)


def _class_result(found: Found, truth: Truth, label: int, metric: Metric, version: str, overlap: float) -> ClassResult:
    wanted = np.flatnonzero(truth.label == label)
    own = np.flatnonzero(found.label == label)
    own = own[np.argsort(-found.scores[own], kind="stable")]
    difficult = truth.difficult[wanted] if metric == "voc" else np.zeros(len(wanted), bool)
    right, skipped = np.zeros(len(own), bool), np.zeros(len(own), bool)
    for rows, boxes in _by_image(found.image[own], truth.image[wanted]):
        if len(rows) * len(boxes) > MAX_PAIRS:
            message = f"{len(rows)} detections of class {quoted(truth.classes[label])} in one image"
            raise FormatError(f"{message}, which has {len(boxes)} boxes: too many to compare")
        overlaps = _overlaps(found.boxes[own[rows]], truth.boxes[wanted[boxes]])
        if metric == "voc":
            right[rows], skipped[rows] = _matched(overlaps, difficult[boxes], overlap)
        else:
            right[rows] = _matched_freely(overlaps, _least_overlaps(truth.boxes[wanted[boxes]], overlap))
    counted = right[~skipped]
    positives = int((~difficult).sum())
    so_far = np.cumsum(counted, dtype=np.int64)
    return ClassResult(
        name=truth.classes[label],
        boxes=positives,
        detections=len(own),
        precision=so_far / np.arange(1, len(counted) + 1),
        recall=so_far / max(positives, 1),
        average_precision=average_precision(so_far, len(counted), positives, version) if positives else None,
    )


def _by_image(detections: Ints, boxes: Ints) -> Iterator[tuple[Ints, Ints]]:
    """For each image that has both, which detections (in their order) and which boxes are of it."""
    order, places = np.argsort(detections, kind="stable"), np.argsort(boxes, kind="stable")
    images, begins = np.unique(boxes[places], return_index=True)
    ends = [*begins[1:].tolist(), len(places)]
    firsts = np.searchsorted(detections[order], images, "left").tolist()
    lasts = np.searchsorted(detections[order], images, "right").tolist()
    for begin, end, first, last in zip(begins.tolist(), ends, firsts, lasts, strict=True):
        if last > first:
            yield order[first:last], places[begin:end]


def _overlaps(detections: Doubles, boxes: Doubles) -> Doubles:
    """(D, G) intersection over union, both ends counted; 0 or less of boxes that do not meet."""
    ours, theirs = detections[:, None], boxes[None]
    low = np.maximum(ours[..., :2], theirs[..., :2])
    high = np.minimum(ours[..., :2] + ours[..., 2:], theirs[..., :2] + theirs[..., 2:])
    sides = np.maximum(high - low + 1, 0)
    common = sides[..., 0] * sides[..., 1]
    union = np.prod(ours[..., 2:] + 1, -1) + np.prod(theirs[..., 2:] + 1, -1) - common
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0))


def _matched(overlaps: Doubles, difficult: Flags, least: float) -> tuple[Flags, Flags]:
    """Which detections of an image, best first, are right, and which do not count."""
    best = overlaps.argmax(1)
    met = overlaps.max(1) >= least
    skipped = met & difficult[best]
    claims = np.flatnonzero(met & ~skipped)
    right = np.zeros(len(overlaps), bool)
    right[claims[np.unique(best[claims], return_index=True)[1]]] = True
    return right, skipped


def _matched_freely(overlaps: Doubles, least: Doubles) -> Flags:
    """Which detections of an image, best first, are right where each takes the best box that is free."""
    right = np.zeros(len(overlaps), bool)
    allowed = np.where(overlaps >= least, overlaps, -1.0)
    for place in np.flatnonzero(allowed.max(1) >= 0).tolist():
        box = int(allowed[place].argmax())
        if allowed[place, box] >= 0:
            right[place] = True
            allowed[:, box] = -1.0
    return right


def _least_overlaps(boxes: Doubles, overlap: float) -> Doubles:
    """What ILSVRC asks of each box."""
    sides = boxes[:, 2:] + 1
    own = np.prod(sides, 1) / np.prod(sides + TOLERANCE, 1)
    return np.asarray(np.minimum(overlap, own))
