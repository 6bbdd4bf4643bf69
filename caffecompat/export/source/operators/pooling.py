"""Pooling by Caffe's rules."""

# fmt: off

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def padded(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    ceil: bool,
    value: float,
) -> Tensor:
    """A picture with the pads that Caffe's pooling needs.

    It rounds the number of windows up; with any padding it then drops a last window
    that begins beyond the picture and its leading pad, and otherwise keeps it.
    """
    pads: list[int] = []
    for axis in (1, 0):
        size = x.shape[axis + 2]
        span = size + 2 * pad[axis] - kernel[axis]
        count = (-(-span // stride[axis]) if ceil else span // stride[axis]) + 1
        if any(pad) and (count - 1) * stride[axis] >= size + pad[axis]:
            count -= 1
        end = (count - 1) * stride[axis] + kernel[axis]
        pads += [pad[axis], max(0, end - size - pad[axis])]
    return F.pad(x, pads, value=value)


def max_pool(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    ceil: bool = True,
) -> Tensor:
    """Max pooling with Caffe's windows."""
    lowest = torch.finfo(torch.float32).min
    return F.max_pool2d(padded(x, kernel, stride, pad, ceil, lowest), kernel, stride)


def average_pool(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    ceil: bool = True,
) -> Tensor:
    """Average pooling with Caffe's windows, over what lies within the pads stated."""
    filled = padded(x, kernel, stride, pad, ceil, 0.0)
    sums = F.avg_pool2d(filled, kernel, stride, divisor_override=1)
    sides = []
    for axis in (0, 1):
        start = torch.arange(sums.shape[axis + 2]) * stride[axis]
        end = (start + kernel[axis]).clamp(max=x.shape[axis + 2] + 2 * pad[axis])
        sides.append((end - start).to(x))
    return sums / (sides[0][:, None] * sides[1])


def stochastic_pool(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    ceil: bool = True,
) -> Tensor:
    """The mean of each window, its values weighed by themselves: at test."""
    filled = padded(x, kernel, stride, pad, ceil, 0.0)
    weighed = F.avg_pool2d(filled.square(), kernel, stride)
    mean = F.avg_pool2d(filled, kernel, stride)
    return weighed / mean.clamp(min=torch.finfo(x.dtype).tiny)


def max_pool_with_mask(
    x: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    pad: tuple[int, int],
    ceil: bool = True,
) -> tuple[Tensor, Tensor]:
    """`max_pool`, and where in its channel each value was; -1 for nowhere."""
    lowest = torch.finfo(torch.float32).min
    filled = padded(x, kernel, stride, pad, ceil, lowest)
    top, index = F.max_pool2d(filled, kernel, stride, return_indices=True)
    row = index // filled.shape[3] - pad[0]
    column = index % filled.shape[3] - pad[1]
    height, width = x.shape[2:]
    outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
    return top, (row * width + column).masked_fill(outside, -1).to(x)


def spp(x: Tensor, levels: int, pool: Callable[..., Tensor]) -> Tensor:
    """Spatial pyramid pooling: the picture in 1, 2 x 2, 4 x 4, ... bins."""
    tops = []
    for bins in (2**level for level in range(levels)):
        kernel = tuple(-(-size // bins) for size in x.shape[2:])
        pad = tuple((-size % bins + 1) // 2 for size in x.shape[2:])
        tops.append(pool(x, kernel, kernel, pad))
    return tops[0] if levels == 1 else torch.cat([top.flatten(1) for top in tops], 1)


def unpool(x: Tensor, mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Each value at the place in its channel that the mask of a max pooling says."""
    top = x.new_zeros(*x.shape[:2], size[0] * size[1])
    top = top.scatter(2, mask.flatten(2).long(), x.flatten(2))
    return top.reshape(*x.shape[:2], *size)
