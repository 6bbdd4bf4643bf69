"""Layers of FlowNet2."""

# fmt: off

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def flow_warp(x: Tensor, flow: Tensor, fill: float = 0.0) -> Tensor:
    """Pictures read where the flow (dx, dy), in pixels, points to; `fill` outside."""
    height, width = x.shape[2:]
    column = torch.arange(width).to(flow) + flow[:, 0]
    row = torch.arange(height).to(flow)[:, None] + flow[:, 1]
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = (each.masked_fill(~inside, 0) for each in (column, row))
    left, top = column.floor(), row.floor()
    right, low = (column - left)[:, None], (row - top)[:, None]

    def read(row: Tensor, column: Tensor) -> Tensor:
        place = row.long().clamp(max=height - 1) * width
        place = place + column.long().clamp(max=width - 1)
        place = place.flatten(1)[:, None].expand(-1, x.shape[1], -1)
        return x.flatten(2).gather(2, place).reshape(x.shape)

    above = (1 - right) * read(top, left) + right * read(top, left + 1)
    below = (1 - right) * read(top + 1, left) + right * read(top + 1, left + 1)
    return torch.where(inside[:, None], (1 - low) * above + low * below, fill)


def correlation(
    first: Tensor,
    second: Tensor,
    *,
    kernel: int,
    reach: int,
    stride: int = 1,
    step: int = 1,
    pad: int = 0,
    subtract: bool = False,
) -> Tensor:
    """How well patches fit those of another blob, moved by up to `reach` each way.

    (num, displacements, height, width): the mean of the products over a patch, or of
    the absolute differences.
    """
    first, second = (F.pad(each, [pad] * 4) for each in (first, second))
    height, width = (size - 2 * reach for size in first.shape[2:])
    first = first[:, :, reach : reach + height, reach : reach + width]
    offsets = range(reach % step, 2 * reach + 1, step)
    fits = []
    for row in offsets:
        for column in offsets:
            moved = second[:, :, row : row + height, column : column + width]
            fit = (first - moved).abs() if subtract else first * moved
            fits.append(fit.mean(1))
    return F.avg_pool2d(torch.stack(fits, 1), kernel, stride)
