"""The operator `caffecompat::nms` on the CPU, in NumPy: calling PyTorch's operators takes longer than the work."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from caffecompat.detection.boxes import box_size
from caffecompat.detection.nms_in_tiles import TILE, nms_in_tiles


def nms_on_cpu(boxes: Tensor, groups: Tensor, num_groups: int, threshold: float, eta: float) -> Tensor:
    """What `nms` computes, with its arguments."""
    if eta < 1 or threshold < 0 or boxes.dtype != torch.float32:
        return nms_in_tiles(boxes, groups, num_groups, threshold, eta)
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
