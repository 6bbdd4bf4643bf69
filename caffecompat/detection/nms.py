"""Greedy non-maximum suppression over all images and classes at once.

One custom operator, `caffecompat::nms`, so that exporters can put their target's own form in its place:
`nms_by_rank` is that form for an exported program, which then runs without this package.
"""

from __future__ import annotations

import torch
from torch import Tensor

from caffecompat.detection.boxes import box_size, jaccard_overlap
from caffecompat.detection.nms_in_tiles import ETA_FLOOR, nms_in_tiles
from caffecompat.detection.nms_on_cpu import nms_on_cpu
from caffecompat.detection.nms_on_gpu import nms_on_gpu
from caffecompat.detection.ranks import rank_in_group


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


def _fake(boxes: Tensor, groups: Tensor, num_groups: int, threshold: float, eta: float) -> Tensor:
    return groups.new_empty(groups.shape, dtype=torch.bool)


# Defined by hand: `torch.library.custom_op` imports the compiler at its first call, which takes seconds.
torch.library.define(
    "caffecompat::nms", "(Tensor boxes, Tensor groups, SymInt num_groups, float threshold, float eta) -> Tensor"
)
torch.library.impl("caffecompat::nms", "CompositeExplicitAutograd", nms_in_tiles)
torch.library.impl("caffecompat::nms", "CPU", nms_on_cpu)
torch.library.impl("caffecompat::nms", "CUDA", nms_on_gpu)
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
