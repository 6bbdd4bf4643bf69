"""Greedy non-maximum suppression over all images and classes at once.

One custom operator, `caffecompat::nms`, so that exporters can put their target's own form in its place:
`nms_by_rank` is that form for an exported program, which then runs without this package.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
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


def rank_in_group(groups: Tensor) -> Tensor:
    """The place of each entry within its run of equal values: 0, 1, 2, ...

    Args:
        groups: (M,) sorted.

    Returns:
        (M,) int64.
    """
    return torch.arange(groups.shape[0], device=groups.device) - torch.searchsorted(groups, groups)


def nms(boxes: Tensor, groups: Tensor, num_groups: int, threshold: float, eta: float = 1.0) -> Tensor:
    """Which boxes greedy suppression keeps, for many groups of boxes at once.

    Within its group a box is kept if its overlap with every box kept before it is at most the threshold.

    Args:
        boxes: (M, 4); within a group the best first.
        groups: (M,) int64, sorted: the group of each box, from 0.
        num_groups: how many groups there are.
        threshold: greatest overlap allowed.
        eta: below 1, the threshold is multiplied by it after each kept box, while it is above 0.5.

    Returns:
        (M,) bool.
    """
    keep: Tensor = torch.ops.caffecompat.nms(boxes, groups, num_groups, threshold, eta)
    return keep


def _nms(boxes: Tensor, groups: Tensor, num_groups: int, threshold: float, eta: float) -> Tensor:
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


def _nms_on_cpu(boxes: Tensor, groups: Tensor, num_groups: int, threshold: float, eta: float) -> Tensor:
    """The same in NumPy: with so little data, most of the time of PyTorch's operators is that of calling them."""
    if eta < 1 or threshold < 0 or boxes.dtype != torch.float32:
        return _nms(boxes, groups, num_groups, threshold, eta)
    count = len(boxes)
    keep = np.ones(count, dtype=np.bool_)
    sizes, columns = box_size(boxes).numpy(), np.ascontiguousarray(boxes.numpy().T)
    ids = groups.numpy()
    first = np.searchsorted(ids, ids[::TILE]).tolist()
    for begin, group_begin in zip(range(0, count, TILE), first, strict=True):
        end = min(begin + TILE, count)
        former = np.flatnonzero(keep[group_begin:begin]) + group_begin
        sources = np.concatenate([former, np.arange(begin, end)])
        with np.errstate(all="ignore"):
            later, earlier = _overlapping(columns, sizes, begin, end, sources, np.float32(threshold))
        pairs = (earlier < later) & (ids[earlier] == ids[later])
        # By rising `later`: whether the earlier box of a pair is kept is known when its turn comes.
        for box, other in zip(later[pairs].tolist(), earlier[pairs].tolist(), strict=True):
            if keep[other]:
                keep[box] = False
    return torch.from_numpy(keep)


def _overlapping(
    columns: NDArray[np.float32],
    sizes: NDArray[np.float32],
    begin: int,
    end: int,
    sources: NDArray[np.int64],
    threshold: np.float32,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The pairs of a box from `begin` to `end` and one of `sources` that overlap by more than the threshold.

    Args:
        columns: (4, M) the boxes' corners.
        sizes: (M,) their areas.
        begin: the first box.
        end: behind the last one.
        sources: (K,) the boxes that they are compared with.
        threshold: not negative.

    Returns:
        The places of the first of each pair, rising, and those of the second.
    """
    own, other = columns[:, begin:end, None], columns[:, None, sources]
    width = np.minimum(own[2], other[2]) - np.maximum(own[0], other[0])
    height = np.minimum(own[3], other[3]) - np.maximum(own[1], other[1])
    shared = np.maximum(width, 0) * height
    # s / (a + b - s) > t where s > (a + b) t / (1 + t), but for rounding: few pairs are left to be divided.
    least = sizes * np.float32(threshold / (1 + threshold) * (1 - 1e-5)) - np.finfo(np.float32).tiny
    rows, places = np.nonzero(~(shared < least[begin:end, None] + least[sources]))
    shared, later, earlier = shared[rows, places], rows + begin, sources[places]
    # NaN overlaps (infinite boxes) suppress, as in Caffe, where "overlap <= threshold" is what keeps.
    overlap = shared / (sizes[later] + sizes[earlier] - shared)
    over = (shared > 0) & ~(overlap <= threshold)
    return later[over], earlier[over]


def _fake(boxes: Tensor, groups: Tensor, num_groups: int, threshold: float, eta: float) -> Tensor:
    return groups.new_empty(groups.shape, dtype=torch.bool)


# Defined by hand: `torch.library.custom_op` imports the compiler at its first call, which takes seconds.
torch.library.define(
    "caffecompat::nms", "(Tensor boxes, Tensor groups, SymInt num_groups, float threshold, float eta) -> Tensor"
)
torch.library.impl("caffecompat::nms", "CompositeExplicitAutograd", _nms)
torch.library.impl("caffecompat::nms", "CPU", _nms_on_cpu)
# Not by `register_fake`, which looks through all modules for where it is called.
torch.library.impl("caffecompat::nms", "Meta", _fake)


def nms_by_rank(boxes: Tensor, groups: Tensor, num_groups: int, threshold: float, eta: float = 1.0) -> Tensor:
    """What `nms` computes, as one `while_loop` over ranks of plain tensor operations.

    The step r decides the r-th box of every group: an exported program can hold this.
    """
    from torch._higher_order_ops.while_loop import while_loop_op

    ids = torch.arange(num_groups, device=groups.device)
    first = torch.searchsorted(groups, ids)
    after = torch.searchsorted(groups, ids, right=True)
    # A group that has no r-th box gives its last one again, which changes nothing: all of it is decided.
    last = (after - 1).clamp(min=0)
    packed = torch.cat([boxes, box_size(boxes)[:, None]], 1)
    longest = torch.cat([after - first, first.new_zeros(1)]).max()

    # Both take what the loop carries (rank, worst overlap with a kept box, keep, limit), then what it reads.
    def unfinished(rank: Tensor, *others: Tensor) -> Tensor:
        return rank < others[-1]

    def decide(
        rank: Tensor,
        worst: Tensor,
        keep: Tensor,
        limit: Tensor,
        packed: Tensor,
        groups: Tensor,
        own_rank: Tensor,
        first: Tensor,
        last: Tensor,
        longest: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        here = torch.minimum(first + rank, last)
        kept = worst[here] <= limit
        leader = packed[here][groups]
        overlap = jaccard_overlap(leader[:, :4], packed[:, :4], sizes=(leader[:, 4], packed[:, 4]))
        kept_by_box = kept[groups]
        worst = torch.where(kept_by_box, torch.maximum(worst, overlap), worst)
        keep = keep | (kept_by_box & (own_rank == rank))
        limit = torch.where(kept & (limit > ETA_FLOOR), limit * eta, limit) if eta < 1 else limit.clone()
        return rank + 1, worst, keep, limit

    carried = (
        torch.zeros((), dtype=torch.int64, device=boxes.device),
        torch.zeros_like(boxes[:, 0]),
        torch.zeros_like(groups, dtype=torch.bool),
        torch.full_like(first, threshold, dtype=boxes.dtype),
    )
    read = (packed, groups, rank_in_group(groups), first, last, longest)
    keep: Tensor = while_loop_op(unfinished, decide, carried, read)[2]  # type: ignore[arg-type]
    return keep
