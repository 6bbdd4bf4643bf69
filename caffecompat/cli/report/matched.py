"""One pass of a detection net: its detections, the boxes to find, and what DetectionEvaluate said of them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from caffecompat.detection.boxes import jaccard_overlap
from caffecompat.detection.confusion import best_overlaps
from caffecompat.detection.evaluate import Boxes, in_order, read_detections, read_ground_truth

UNSTATED = -1


class Matched:
    """The detections of a pass beside the boxes to find.

    Args:
        found: rows of DetectionOutput.
        truth: rows of the labels.
        rows: what DetectionEvaluate made of both.

    Attributes:
        found: the detections, in the order of `rows`.
        truth: the boxes to find, and those that need not be found.
        right: for each detection whether it is right.
        wrong: for each detection whether it is wrong; one on a difficult box may be neither.
        overlap: for each detection the overlap with the box of its class that it overlaps most.
    """

    def __init__(self, found: Tensor, truth: Tensor, rows: Tensor) -> None:
        self.truth = read_ground_truth(truth)
        detections = read_detections(found)
        self.found = detections[in_order(detections, self.truth)]
        rows = rows.reshape(-1, rows.shape[-1])
        marks = rows[rows[:, 0] != UNSTATED][:, 3:] != 0
        self.right: list[bool] = marks[:, 0].tolist()
        self.wrong: list[bool] = marks[:, 1].tolist()
        overlap, which = best_overlaps(self.found, self.truth)
        self.overlap: list[float] = overlap.tolist()
        self._which: list[int] = which.tolist()

    def finders(self) -> dict[int, float]:
        """The place of each box that a right detection found, and that one's score."""
        scores = self.found.score.tolist()
        return {place: scores[index] for index, place in enumerate(self._which) if self.right[index] and place >= 0}

    def lies_on(self, index: int, threshold: float) -> int | None:
        """The class of the box of any class that a detection overlaps most, if it does by so much."""
        own = (self.truth.image == self.found.image[index]).nonzero().flatten()
        if not len(own):
            return None
        overlap, place = jaccard_overlap(self.found.boxes[index], self.truth.boxes[own]).max(0)
        return int(self.truth.label[own[place]]) if overlap >= threshold else None

    def sure(self, threshold: float) -> Boxes:
        """The detections with a score of at least so much."""
        return self.found[(self.found.score >= threshold).nonzero().flatten()]

    def truth_in(self, image: int) -> Iterator[int]:
        """The places of the boxes of an image."""
        yield from torch.nonzero(self.truth.image == image).flatten().tolist()

    def found_in(self, image: int, threshold: float) -> Iterator[int]:
        """The places of the detections in an image with a score of at least so much."""
        wanted = (self.found.image == image) & (self.found.score >= threshold)
        yield from torch.nonzero(wanted).flatten().tolist()
