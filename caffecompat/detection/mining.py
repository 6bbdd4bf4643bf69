"""Which priors a loss counts: hard negatives, or the hardest of all, for a whole batch.

Source of the rules: MineHardExamples in bbox_util.cpp of the SSD branch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from caffecompat.detection.boxes import box_size
from caffecompat.detection.nms import nms
from caffecompat.detection.ranks import rank_in_group

# Suppression before mining drops boxes smaller than this (Caffe: ApplyNMS).
LEAST_SIZE = 1e-5


def hardest(losses: Tensor, eligible: Tensor, count: Tensor) -> Tensor:
    """The `count` greatest losses of each image among the eligible; of equal ones any.

    Args:
        losses: (N, P).
        eligible: (N, P) bool.
        count: (N,) int64, at most as many as are eligible.

    Returns:
        (N, P) bool.
    """
    most = int(count.max()) if count.numel() else 0
    chosen = torch.zeros_like(eligible)
    if not most:
        return chosen
    places = torch.where(eligible, losses, -torch.inf).topk(most, dim=1).indices
    wanted = torch.arange(most, device=places.device) < count[:, None]
    return chosen.scatter(1, places, wanted)


def hardest_apart(
    losses: Tensor, eligible: Tensor, count: Tensor, boxes: Tensor, threshold: float, top_k: int
) -> Tensor:
    """As `hardest`, but of boxes that overlap by more than a threshold only the one of the greatest loss counts.

    Args:
        losses: (N, P).
        eligible: (N, P) bool.
        count: (N,) int64 how many to take at most.
        boxes: (N or 1, P, 4).
        threshold: greatest overlap.
        top_k: how many of the greatest losses of an image take part; -1 for all.

    Returns:
        (N, P) bool.
    """
    image, place = eligible.nonzero().unbind(1)
    order = losses[image, place].argsort(descending=True, stable=True)
    order = order[image[order].argsort(stable=True)]
    image, place = image[order], place[order]
    flat = boxes.expand(len(losses), -1, -1)[image, place]
    usable = box_size(flat) >= LEAST_SIZE
    if top_k >= 0:
        usable = usable & (rank_in_group(image) < top_k)
    image, place, flat = image[usable], place[usable], flat[usable]
    keep = nms(flat, image, len(losses), threshold)
    image, place = image[keep], place[keep]
    wanted = rank_in_group(image) < count[image]
    chosen = torch.zeros_like(eligible)
    chosen[image[wanted], place[wanted]] = True
    return chosen
