"""Faster R-CNN's proposals, and pooling of regions."""

# fmt: off

from __future__ import annotations

import math

import torch
from torch import Tensor

from caffecompat.export.source.operators.boxes import nms
from caffecompat.export.source.operators.resampling import round_away


def anchors_of(
    base_size: float, ratios: tuple[float, ...], scales: tuple[float, ...]
) -> Tensor:
    """Boxes around a place: squares of each scale, at each ratio (height / width)."""
    center = (base_size - 1) / 2
    boxes = []
    for ratio in ratios:
        width = math.floor(math.sqrt(base_size**2 / ratio) + 0.5)
        height = math.floor(width * ratio + 0.5)
        for scale in scales:
            half = (width * scale - 1) / 2, (height * scale - 1) / 2
            boxes.append([center + sign * side for sign in (-1, 1) for side in half])
    return torch.tensor(boxes)


def propose(
    scores: Tensor,
    deltas: Tensor,
    picture: Tensor,
    *,
    stride: float = 16,
    base_size: float = 16,
    ratios: tuple[float, ...] = (0.5, 1, 2),
    scales: tuple[float, ...] = (8, 16, 32),
    before_nms: int = 6000,
    after_nms: int = 300,
    nms_threshold: float = 0.7,
    min_size: float = 16,
    drop_small: bool = True,
) -> tuple[Tensor, Tensor]:
    """Faster R-CNN's regions, (count, 5): image, x1, y1, x2, y2; and their scores.

    scores: of the background for each anchor, then of objects. picture: its height,
    width and scale. Boxes that are too small are dropped, or get the score 0.
    """
    anchors = anchors_of(base_size, ratios, scales).to(deltas)
    count, _, rows, columns = deltas.shape
    y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    shift = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4) * stride
    boxes = (anchors + shift).reshape(-1, 4)
    deltas = deltas.permute(0, 2, 3, 1).reshape(count, -1, 4)
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    center = boxes[:, :2] + sides / 2 + deltas[..., :2] * sides
    half = deltas[..., 2:].exp() * sides / 2
    height, width, *scale = picture.flatten(1)[0][:4]
    limit = torch.stack([width, height, width, height]) - 1
    boxes = torch.cat([center - half, center + half], -1)
    boxes = torch.minimum(boxes, limit).clamp(min=0)
    sides = boxes[..., 2:] - boxes[..., :2] + 1
    large = (sides >= min_size * torch.stack([scale[-1], scale[0]])).all(-1)
    scores = scores[:, len(anchors) :].permute(0, 2, 3, 1).flatten(1)
    scores = torch.where(large, scores, float("-inf") if drop_small else 0)
    regions, kept_scores = [], []
    for image in range(count):
        order = scores[image].argsort(descending=True, stable=True)
        order = order[:before_nms] if before_nms else order
        order = order[large[image, order]] if drop_small else order
        placed = boxes[image, order]
        ends = placed + placed.new_tensor([0, 0, 1, 1])
        kept = nms(ends, nms_threshold)[: after_nms or None]
        head = placed.new_full((len(kept), 1), image)
        regions.append(torch.cat([head, placed[kept]], 1))
        kept_scores.append(scores[image, order[kept]])
    return torch.cat(regions), torch.cat(kept_scores)


def bins(
    step: Tensor, start: Tensor, offset: Tensor, count: int, limit: int
) -> list[list[list[int]]]:
    """Where on an axis the bins of each region begin and end."""
    edges = torch.arange(count + 1).to(step) * step[:, None] + start[:, None]
    edges = torch.stack([edges[:, :-1].floor(), edges[:, 1:].ceil()], 2)
    return (edges + offset[:, None, None]).clamp(0, limit).long().tolist()


def roi_pool(
    x: Tensor,
    rois: Tensor,
    size: tuple[int, int],
    scale: float,
    pad_ratio: float = 0.0,
) -> Tensor:
    """Fast R-CNN's pooling: the greatest value in each bin, 0 if it is empty.

    rois: (count, 5): image, x1, y1, x2, y2, in pixels of the net's input.
    """
    rois = rois.reshape(-1, 5)
    low, high = rois[:, 1:3], rois[:, 3:]
    pad = (high - low + 1) * pad_ratio
    low, high = round_away((low - pad) * scale), round_away((high + pad) * scale)
    sides = (high - low + 1).clamp(min=1)
    zero = torch.zeros_like(sides[:, 0])
    columns = bins(sides[:, 0] / size[1], zero, low[:, 0], size[1], x.shape[3])
    rows = bins(sides[:, 1] / size[0], zero, low[:, 1], size[0], x.shape[2])
    pooled = x.new_zeros(len(rois), x.shape[1], *size)
    for number, image in enumerate(rois[:, 0].long().tolist()):
        for row, (top, bottom) in enumerate(rows[number]):
            for column, (left, right) in enumerate(columns[number]):
                if top < bottom and left < right:
                    part = x[image, :, top:bottom, left:right]
                    pooled[number, :, row, column] = part.amax((1, 2))
    return pooled


def psroi_pool(
    x: Tensor, rois: Tensor, outputs: int, group: int, scale: float
) -> Tensor:
    """R-FCN's pooling: the mean of each bin, which has channels of its own.

    rois: (count, 5): image, x1, y1, x2, y2, in pixels of the net's input.
    """
    rois = rois.reshape(-1, 5)
    low = round_away(rois[:, 1:3]) * scale
    high = (round_away(rois[:, 3:]) + 1) * scale
    step = (high - low).clamp(min=0.1) / group
    zero = torch.zeros_like(step[:, 0])
    columns = bins(step[:, 0], low[:, 0], zero, group, x.shape[3])
    rows = bins(step[:, 1], low[:, 1], zero, group, x.shape[2])
    x = x.reshape(len(x), outputs, group, group, *x.shape[2:])
    pooled = x.new_zeros(len(rois), outputs, group, group)
    for number, image in enumerate(rois[:, 0].long().tolist()):
        for row, (top, bottom) in enumerate(rows[number]):
            for column, (left, right) in enumerate(columns[number]):
                if top < bottom and left < right:
                    part = x[image, :, row, column, top:bottom, left:right]
                    pooled[number, :, row, column] = part.mean((1, 2))
    return pooled
