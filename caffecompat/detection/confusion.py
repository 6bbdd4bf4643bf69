"""Which box each detection found, whatever class it says: what is taken for what, and what is missed."""

from __future__ import annotations

import torch
from torch import Tensor

from caffecompat.detection.boxes import jaccard_overlap
from caffecompat.detection.evaluate import Boxes


def best_overlaps(found: Boxes, truth: Boxes) -> tuple[Tensor, Tensor]:
    """The box that each detection overlaps most, of those of its image and label.

    Args:
        found: M detections.
        truth: the boxes to find.

    Returns:
        (M,) the overlap, and (M,) int64 the box's place in `truth`; 0 and -1 where there is none to overlap.
    """
    if not len(found) or not len(truth):
        return found.score.new_zeros(len(found)), torch.full((len(found),), -1, device=found.label.device)
    related = (found.image[:, None] == truth.image) & (found.label[:, None] == truth.label)
    overlap = jaccard_overlap(found.boxes[:, None], truth.boxes)
    best, which = torch.where(related, overlap, 0.0).max(1)
    return best, torch.where(best > 0, which, -1)


def pair_up(found: Boxes, truth: Boxes, overlap_threshold: float = 0.5) -> Tensor:
    """Detections and boxes in pairs, each in one at most, of any labels.

    A detection and a box of the same label come together first, then those of different labels; among these the
    pairs that overlap more.

    Args:
        found: M detections.
        truth: the boxes to find.
        overlap_threshold: least overlap of a pair.

    Returns:
        (M,) int64: the place in `truth` of each detection's box, or -1.
    """
    taken = torch.full((len(found),), -1)
    if not len(found) or not len(truth):
        return taken
    overlap = jaccard_overlap(found.boxes[:, None], truth.boxes)
    overlap = torch.where(found.image[:, None] == truth.image, overlap, 0.0)
    rows, columns = (overlap >= overlap_threshold).nonzero(as_tuple=True)
    other = found.label[rows] != truth.label[columns]
    order = (other.to(overlap.dtype) * 2 - overlap[rows, columns]).argsort(stable=True)
    free = [True] * len(truth)
    pairs: dict[int, int] = {}
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in pairs and free[column]:
            pairs[row] = column
            free[column] = False
    for row, column in pairs.items():
        taken[row] = column
    return taken
