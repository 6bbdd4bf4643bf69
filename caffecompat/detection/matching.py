"""Matching of predicted or prior boxes to ground truth, for a whole batch.

Source of the rules: MatchBBox in bbox_util.cpp of the SSD branch.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from caffecompat.detection.boxes import crosses_boundary, jaccard_overlap

MatchType = Literal["BIPARTITE", "PER_PREDICTION"]
UNMATCHED, IGNORED = -1, -2
# Boxes that overlap by no more count as apart.
LEAST_OVERLAP = 1e-6


def match_boxes(
    boxes: Tensor,
    truth: Tensor,
    valid: Tensor,
    match_type: MatchType = "PER_PREDICTION",
    overlap_threshold: float = 0.5,
    *,
    ignore_cross_boundary: bool = False,
) -> tuple[Tensor, Tensor]:
    """The ground truth of each box.

    BIPARTITE: the pair of greatest overlap is matched, and so on with the boxes and truths that remain; of equal
    overlaps the first box counts, then the first truth. PER_PREDICTION: then every other box is matched to the
    truth that it overlaps most, if by the threshold.

    Args:
        boxes: (B or 1, P, 4).
        truth: (B, G, 4).
        valid: (B, G) bool: which of them there are.
        match_type: see above.
        overlap_threshold: least overlap of PER_PREDICTION.
        ignore_cross_boundary: boxes that reach outside 0..1 are IGNORED, in images that have truth.

    Returns:
        (B, P) int64 index of the truth, or UNMATCHED, or IGNORED; and (B, P) the overlap, the greatest one with
        any truth where nothing was matched.
    """
    batch, most = valid.shape
    count = boxes.shape[1]
    index = torch.full((batch, count), UNMATCHED, device=truth.device)
    if not most or not count:
        return index, truth.new_zeros(batch, count)
    # Boxes last in memory: the comparisons run along them.
    planes = boxes.movedim(-1, 0).contiguous().movedim(0, -1)
    overlap = jaccard_overlap(planes[:, None], truth[:, :, None])
    overlap = overlap.masked_fill(~((overlap > LEAST_OVERLAP) & valid[:, :, None]), 0)
    if ignore_cross_boundary:
        ignored = crosses_boundary(boxes) & valid.any(1, keepdim=True)
        index = index.masked_fill(ignored, IGNORED)
        overlap = overlap.masked_fill(ignored[:, None], 0)
    best, which = overlap.max(1)
    _match_pairs(overlap.clone(), index, best)
    if match_type == "PER_PREDICTION":
        # `best` of a box without a pair is still that of its best truth.
        late = (index == UNMATCHED) & (best >= overlap_threshold) & (best > 0)
        index = torch.where(late, which, index)
    return index, best


def _match_pairs(pool: Tensor, index: Tensor, best: Tensor) -> None:
    """The bipartite part: writes into `index` and `best`, and uses up `pool`, the overlaps (B, G, P)."""
    batch, most, count = pool.shape
    image = torch.arange(batch, device=pool.device)
    value, box = pool.max(2)
    for _ in range(most):
        highest = value.amax(1, keepdim=True)
        first_box = torch.where(value == highest, box, count).amin(1)
        truth = ((value == highest) & (box == first_box[:, None])).int().argmax(1)
        found = (highest[:, 0] > 0).nonzero().squeeze(1)
        if not len(found):
            return
        images, boxes, truths = image[found], first_box[found], truth[found]
        index[images, boxes] = truths
        best[images, boxes] = highest[found, 0]
        pool[images, :, boxes] = 0
        value[images, truths] = 0
        # Truths whose best box is gone look for another.
        robbed = ((box[images] == boxes[:, None]) & (value[images] > 0)).nonzero()
        if len(robbed):
            rows = images[robbed[:, 0]], robbed[:, 1]
            value[rows], box[rows] = pool[rows].max(1)
