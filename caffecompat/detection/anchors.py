"""Anchors and proposals of Faster R-CNN's region proposal network, for all images at once.

Boxes are (x1, y1, x2, y2) in pixels of the net's input, both ends included: a side is x2 - x1 + 1.
Sources of the rules: generate_anchors.py, proposal_layer.py and bbox_transform.py of py-faster-rcnn, and the C++
Proposal layers that follow them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from caffecompat.detection.nms import nms
from caffecompat.detection.ranks import rank_in_group

RATIOS = (0.5, 1.0, 2.0)
SCALES = (8.0, 16.0, 32.0)


@dataclass(frozen=True)
class ProposalOptions:
    """What `propose` is told.

    Attributes:
        stride: how many pixels of the input a step on the feature map is.
        before: at most so many of the best are compared with each other; 0 means all.
        after: at most so many of the kept ones are given; 0 means all.
        threshold: greatest overlap of two kept ones.
        min_size: least side of a proposal in the picture before it was scaled.
        drop_small: smaller ones are left out; otherwise their score becomes 0.
    """

    stride: float = 16
    before: int = 6000
    after: int = 300
    threshold: float = 0.7
    min_size: float = 16
    drop_small: bool = True


def generate_anchors(
    base_size: float = 16, ratios: Sequence[float] = RATIOS, scales: Sequence[float] = SCALES
) -> Tensor:
    """The anchors around the first place of the feature map.

    A square of `base_size` gets the same area at each ratio (height by width), its sides rounded; then it is
    scaled about its centre.

    Returns:
        (ratios * scales, 4) float32, by ratio, then scale.
    """
    center = (base_size - 1) / 2
    rows = []
    for ratio in ratios:
        width = math.floor(math.sqrt(base_size * base_size / ratio) + 0.5)
        height = math.floor(width * ratio + 0.5)
        for scale in scales:
            half_width, half_height = (width * scale - 1) / 2, (height * scale - 1) / 2
            rows.append((center - half_width, center - half_height, center + half_width, center + half_height))
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def place_anchors(anchors: Tensor, height: int, width: int, stride: float) -> Tensor:
    """The anchors (A, 4) at every place of a feature map: (height * width * A, 4), by row, column, anchor."""
    rows, columns = (torch.arange(count, dtype=anchors.dtype, device=anchors.device) for count in (height, width))
    y, x = torch.meshgrid(rows * stride, columns * stride, indexing="ij")
    shift = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    return (anchors + shift).reshape(-1, 4)


def move_boxes(boxes: Tensor, deltas: Tensor) -> Tensor:
    """Boxes (..., 4) after the net's corrections (..., 4): shifts in units of the sides, and log of the ratios."""
    sides = boxes[..., 2:] - boxes[..., :2] + 1
    center = boxes[..., :2] + sides / 2 + deltas[..., :2] * sides
    half = deltas[..., 2:].exp() * sides / 2
    return torch.cat([center - half, center + half], -1)


def propose(
    scores: Tensor, deltas: Tensor, anchors: Tensor, picture: Tensor, options: ProposalOptions
) -> tuple[Tensor, Tensor]:
    """The best boxes that the region proposal network predicts.

    Args:
        scores: (N, 2 * A, H, W): of the background for each of A anchors, then of an object.
        deltas: (N, 4 * A, H, W) corrections of the anchors.
        anchors: (A, 4) as `generate_anchors` makes them.
        picture: (4,) height and width of the input, and by how much it was scaled in height and in width.
        options: see `ProposalOptions`.

    Returns:
        Regions (R, 5): image, x1, y1, x2, y2, by image and falling score; and their scores (R,).
    """
    images, _, height, width = scores.shape
    count = len(anchors)
    score = scores[:, count:].permute(0, 2, 3, 1).reshape(images, -1)
    deltas = deltas.permute(0, 2, 3, 1).reshape(images, -1, 4)
    boxes = move_boxes(place_anchors(anchors, height, width, options.stride), deltas)
    limit = (picture[:2] - 1).flip(0).repeat(2)
    boxes = torch.minimum(boxes, limit).clamp(min=0)
    sides = boxes[..., 2:] - boxes[..., :2] + 1
    large = (sides >= options.min_size * picture[2:].flip(0)).all(-1)
    score = score.masked_fill(~large, -torch.inf if options.drop_small else 0.0)

    score, order = score.sort(stable=True, dim=1, descending=True)
    if options.before:
        score, order = score[:, : options.before], order[:, : options.before]
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
    image = torch.arange(images, device=scores.device)[:, None].expand_as(order).contiguous()
    if options.drop_small:
        kept = large.gather(1, order)
        boxes, score, image = boxes[kept], score[kept], image[kept]
    else:
        boxes, score, image = boxes.flatten(0, 1), score.flatten(), image.flatten()

    # With the last pixel's far edge as the end, overlaps are those of boxes without it.
    ends = boxes + boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    keep = nms(ends, image, images, options.threshold).nonzero().squeeze(1)
    if options.after:
        keep = keep[rank_in_group(image[keep]) < options.after]
    return torch.cat([image[keep, None].to(boxes.dtype), boxes[keep]], 1), score[keep]
