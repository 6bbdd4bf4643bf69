"""The operator `caffecompat::nms` on a GPU, where a few large steps are faster than many small ones."""

from __future__ import annotations

import torch
from torch import Tensor

from caffecompat.detection.boxes import box_size, jaccard_overlap
from caffecompat.detection.nms_in_tiles import nms_in_tiles, thresholds
from caffecompat.detection.ranks import rank_in_group

# Pairs of boxes that are compared at once, in some 600 MiB; and how often that is done.
MOST_PAIRS = 1 << 24
MOST_PARTS = 128


def nms_on_gpu(boxes: Tensor, groups: Tensor, num_groups: int, threshold: float, eta: float) -> Tensor:
    """What `nms` computes: the boxes of all groups side by side, each compared with all of its group.

    Keeping is iterated from "all" until nothing changes: after round r the first r boxes of each group are final, so it
    ends at the greedy result, in as many rounds as the longest chain of suppressions. Groups that are too large for
    that, or too many, go through the form that any device computes.
    """
    rank = rank_in_group(groups)
    most = int(rank.max()) + 1 if len(rank) else 0
    together = MOST_PAIRS // max(most, 1) ** 2
    if most == 0 or together * MOST_PARTS < num_groups:
        return nms_in_tiles(boxes, groups, num_groups, threshold, eta)
    packed = boxes.new_zeros(num_groups, most, 4)
    packed[groups, rank] = boxes
    there = torch.zeros(num_groups, most, dtype=torch.bool, device=boxes.device)
    there[groups, rank] = True
    allowed = thresholds(threshold, eta, most).to(boxes.device)
    kept = [
        _kept(*part, allowed) for part in zip(torch.split(packed, together), torch.split(there, together), strict=True)
    ]
    return torch.cat(kept)[groups, rank]


def _kept(boxes: Tensor, there: Tensor, allowed: Tensor) -> Tensor:
    """Which boxes of some groups are kept.

    Args:
        boxes: (G, L, 4), in each group the best first.
        there: (G, L): which of them are boxes at all.
        allowed: as `thresholds` gives it.
    """
    sizes = box_size(boxes)
    overlap = jaccard_overlap(boxes[:, :, None], boxes[:, None], sizes=(sizes[:, :, None], sizes[:, None]))
    before = torch.ones_like(overlap[0], dtype=torch.bool).tril(-1)
    if len(allowed) == 1:
        # NaN overlaps (infinite boxes) suppress, as in Caffe, where "overlap <= threshold" is what keeps.
        over = ~(overlap <= allowed) & before
    else:
        overlap = overlap.masked_fill(~before, 0)
    # A negative threshold suppresses even the first box of a group.
    keep = first = there & (allowed[0] >= 0)
    while True:
        if len(allowed) == 1:
            new = first & ~(over & keep[:, None]).any(2)
        else:
            limit = allowed[(keep.cumsum(1) - keep.long()).clamp(max=len(allowed) - 1)]
            new = there & (overlap.masked_fill(~keep[:, None], 0).amax(2) <= limit)
        if torch.equal(new, keep):
            return new
        keep = new
