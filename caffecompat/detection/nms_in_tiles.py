"""The operator `caffecompat::nms` on any device: tile by tile of boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from caffecompat.detection.boxes import box_size, jaccard_overlap

# An adaptive threshold is lowered only while it is above this (Caffe: ApplyNMSFast).
ETA_FLOOR = 0.5
# Boxes that are decided in one go: fewer cost more calls, more cost more comparisons.
TILE = 64


def thresholds(threshold: float, eta: float, most: int) -> Tensor:
    """The overlap allowed after 0, 1, 2, ... kept boxes, `most` at the most; the last one counts from there on.

    Caffe multiplies the threshold by eta after each kept box while it is above 0.5, in float32.
    """
    values = [torch.tensor(threshold, dtype=torch.float32)]
    factor = torch.tensor(eta, dtype=torch.float32)
    while eta < 1 and values[-1] > ETA_FLOOR and len(values) <= most:
        values.append(values[-1] * factor)
    return torch.stack(values)


def nms_in_tiles(boxes: Tensor, groups: Tensor, num_groups: int, threshold: float, eta: float) -> Tensor:
    """What `nms` computes, with its arguments, on any device."""
    count = len(boxes)
    keep = torch.ones(count, dtype=torch.bool, device=boxes.device)
    allowed = thresholds(threshold, eta, count).to(boxes.device)
    sizes = box_size(boxes)
    columns = boxes.t().contiguous()
    first = torch.searchsorted(groups, groups[::TILE].contiguous()).tolist()
    # A tile of boxes is compared with those kept before it in the group it begins in, and within itself:
    # the work is that of the greedy loop, each box against the kept ones.
    for begin, group_begin in zip(range(0, count, TILE), first, strict=True):
        end = min(begin + TILE, count)
        former = keep[group_begin:begin].nonzero().squeeze(1) + group_begin
        sources = torch.cat([former, torch.arange(begin, end, device=boxes.device)])
        overlap = jaccard_overlap(
            columns[:, begin:end, None].movedim(0, -1),
            columns[:, None, sources].movedim(0, -1),
            sizes=(sizes[begin:end, None], sizes[sources]),
        )
        related = groups[begin:end, None] == groups[sources]
        keep[begin:end] = _keep_tile(overlap, related, len(former), allowed)
    return keep


def _keep_tile(overlap: Tensor, related: Tensor, former: int, allowed: Tensor) -> Tensor:
    """Decide the boxes of a tile.

    Keeping is iterated from "all" until nothing changes: after round r the first r boxes are final, so it
    ends at the greedy result, in as many rounds as the longest chain of suppressions.

    Args:
        overlap: (rows, former + rows) of each box with those kept before the tile, then with the tile's.
        related: (rows, former + rows): they are in the same group.
        former: how many were kept before the tile.
        allowed: as `thresholds` gives it.
    """
    inside = related[:, former:].tril(-1)
    within = overlap[:, former:].masked_fill(~inside, 0)
    # NaN overlaps (infinite boxes) suppress, as in Caffe, where "overlap <= threshold" is what keeps.
    nothing = overlap.new_zeros(len(overlap), 1)
    before = torch.cat([overlap[:, :former].masked_fill(~related[:, :former], 0), nothing], 1).amax(1)
    kept_before = related[:, :former].sum(1)
    keep = torch.ones_like(before, dtype=torch.bool)
    limit = allowed
    while True:
        worst = torch.maximum(before, within.masked_fill(~keep, 0).amax(1))
        if len(allowed) > 1:
            limit = allowed[(kept_before + (inside & keep).sum(1)).clamp(max=len(allowed) - 1)]
        new = worst <= limit
        if torch.equal(new, keep):
            return new
        keep = new
