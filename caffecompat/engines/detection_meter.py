"""Detections of float32 and int8, side by side: which are the same, and how right each are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from caffecompat.detection.average_precision import average_precision
from caffecompat.detection.boxes import jaccard_overlap
from caffecompat.detection.evaluate import (
    Boxes,
    count_positives,
    in_order,
    match_detections,
    read_detections,
    read_ground_truth,
)
from caffecompat.engines.accuracy import MAP, MATCHED, OVERLAP, SCORES
from caffecompat.engines.meters import Figures, Meter
from caffecompat.engines.typical import Truth

# Detections are matched from this score and this overlap, and are right from this overlap.
SCORE, OVERLAPPING = 0.5, 0.5


class Detections(Meter):
    """Rows of a DetectionOutput layer, (1, 1, K, 7).

    Average precision is that of DetectionEvaluate, of boxes as parts of the picture: difficult boxes do not count.

    Args:
        classes: how many the layer has, the background included.
    """

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._matching = _Matching()
        self._reached = {"float32": _Precision(classes), "int8": _Precision(classes)}
        self._known = True

    def add(self, wanted: Tensor, found: Tensor, truths: Sequence[Truth]) -> None:
        """See `Meter.add`."""
        kept = [_of_images(rows, len(truths)) for rows in (wanted, found)]
        self._matching.add(*(detections[detections.score > SCORE] for detections in kept))
        boxes = [truth for truth in truths if isinstance(truth, np.ndarray)]
        self._known &= len(boxes) == len(truths)
        if self._known:
            rows = [torch.from_numpy(np.insert(truth, 0, image, axis=1)) for image, truth in enumerate(boxes)]
            truth = read_ground_truth(torch.cat(rows))
            for precision, detections in zip(self._reached.values(), kept, strict=True):
                precision.add(detections, truth)

    def figures(self) -> Figures:
        """See `Meter.figures`."""
        agreement, notes = self._matching.figures()
        float32, int8 = (precision.mean() for precision in self._reached.values())
        if not self._known or float32 is None or int8 is None:
            return Figures(agreement=agreement, notes=(*notes, "no boxes are known that are to be found"))
        return Figures({MAP: float32}, {MAP: int8}, agreement, notes)


def _of_images(rows: Tensor, images: int) -> Boxes:
    """The detections of the first images."""
    found = read_detections(rows)
    return found[found.image < images]


class _Matching:
    """Pairs detections of one image and label, those first that overlap most."""

    def __init__(self) -> None:
        self._counted = 0
        self._overlaps: list[float] = []
        self._scores: list[float] = []

    def add(self, first: Boxes, second: Boxes) -> None:
        self._counted += len(first) + len(second)
        if not (len(first) and len(second)):
            return
        overlaps = jaccard_overlap(first.boxes[:, None], second.boxes)
        same = (first.image[:, None] == second.image) & (first.label[:, None] == second.label)
        overlaps = torch.where(same & (overlaps >= OVERLAPPING), overlaps, 0)
        places = overlaps.nonzero()
        values = overlaps[places[:, 0], places[:, 1]]
        free = set(range(len(first))), set(range(len(second)))
        for index in values.argsort(descending=True).tolist():
            one, other = places[index].tolist()
            if one in free[0] and other in free[1]:
                free[0].remove(one)
                free[1].remove(other)
                self._overlaps.append(float(values[index]))
                self._scores.append(float((first.score[one] - second.score[other]).abs()))

    def figures(self) -> tuple[dict[str, float], tuple[str, ...]]:
        """The agreement, and what there is to say of it."""
        if not self._counted:
            return {}, (f"no detection has a score above {SCORE}",)
        found = {MATCHED: 2 * len(self._overlaps) / self._counted}
        if self._overlaps:
            found.update({OVERLAP: float(np.mean(self._overlaps)), SCORES: float(np.mean(self._scores))})
        return found, ()


class _Precision:
    """Average precision by class, of detections that come batch by batch."""

    def __init__(self, classes: int) -> None:
        self._positives = torch.zeros(classes, dtype=torch.int64)
        self._scores: dict[int, list[float]] = defaultdict(list)
        self._true: dict[int, list[bool]] = defaultdict(list)

    def add(self, detections: Boxes, truth: Boxes) -> None:
        self._positives += count_positives(truth, len(self._positives), evaluate_difficult=False)
        detections = detections[in_order(detections, truth)]
        marks = match_detections(detections, truth, OVERLAPPING, evaluate_difficult=False)
        columns = (detections.label, detections.score, marks[:, 0], marks[:, 1])
        for label, score, true, false in zip(*(column.tolist() for column in columns), strict=True):
            if true or false:
                self._scores[label].append(score)
                self._true[label].append(bool(true))

    def mean(self) -> float | None:
        """The mean over the classes that have boxes; None if none has."""
        each = [
            average_precision(np.array(self._scores[label]), np.array(self._true[label]), count)
            for label, count in enumerate(self._positives.tolist())
            if count
        ]
        return float(np.mean(each)) if each else None
