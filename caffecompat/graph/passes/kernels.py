"""Convolutions as arrays, and the one convolution that gives the sum of several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import gcd, prod

import numpy as np

from caffecompat.graph.passes.affine import Affine
from caffecompat.graph.passes.sketch import Doubles

Ints = tuple[int, ...]
# A sum is left as it is if one convolution takes more than so many times the multiply-adds of its branches.
MOST_TIMES = 2


@dataclass(frozen=True)
class Kernel:
    """A convolution.

    Attributes:
        weight: (outputs, inputs / group, *kernel), float64.
        bias: (outputs,), float64.
        group: in how many groups the channels are.
        stride: along each spatial axis.
        pad: along each spatial axis.
        dilation: along each spatial axis.
        whole: every place of the window lies within the padded bottom, whatever its size; else it may be a pooling
            window that Caffe's rounding lets hang over.
    """

    weight: Doubles
    bias: Doubles
    group: int
    stride: Ints
    pad: Ints
    dilation: Ints
    whole: bool = True

    @classmethod
    def identity(cls, channels: int, spatial: int) -> Kernel:
        """What changes nothing: each channel a group, a kernel of one place."""
        ones = (1,) * spatial
        return cls(np.ones((channels, 1, *ones)), np.zeros(channels), channels, ones, (0,) * spatial, ones)

    @property
    def size(self) -> Ints:
        """The kernel along each spatial axis."""
        return self.weight.shape[2:]

    @property
    def reach(self) -> Ints:
        """How far the first place reads beyond the first value of the bottom, along each spatial axis."""
        return tuple(d * (k - 1) - p for d, k, p in zip(self.dilation, self.size, self.pad, strict=True))

    @np.errstate(all="ignore")
    def scaled(self, affine: Affine) -> Kernel | None:
        """The convolution with `affine` behind it, or None if that has other channels."""
        whole = affine.over(len(self.bias))
        if whole is None:
            return None
        weight = self.weight * whole.scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        return replace(self, weight=weight, bias=self.bias * whole.scale + whole.shift)


@np.errstate(all="ignore")
def summed(kernels: Sequence[Kernel], coefficients: Sequence[float]) -> Kernel | None:
    """One convolution that gives the sum of several over one blob, each times its coefficient.

    The sum exists only for sizes of the blob at which all give equally many places, and there the result gives as
    many: its window is the union of theirs, laid over one another. At these sizes no pooling window hangs over if a
    convolution beside it begins and ends at the same places, since that never hangs over.

    Returns:
        None where there is no such convolution, or where it costs more than MOST_TIMES as much as they do.
    """
    first = kernels[0]
    alike = all(kernel.stride == first.stride and len(kernel.bias) == len(first.bias) for kernel in kernels)
    if not alike or not all(kernel.whole or _held(kernel, kernels) for kernel in kernels):
        return None
    axes = range(len(first.size))
    pad = tuple(max(kernel.pad[axis] for kernel in kernels) for axis in axes)
    step = tuple(_step(kernels, axis) for axis in axes)
    size = tuple((max(kernel.reach[axis] for kernel in kernels) + pad[axis]) // step[axis] + 1 for axis in axes)
    group = gcd(*(kernel.group for kernel in kernels))
    width = first.weight.shape[1] * first.group // group
    if len(first.bias) * width * prod(size) > MOST_TIMES * sum(kernel.weight.size for kernel in kernels):
        return None
    total = Kernel(np.zeros((len(first.bias), width, *size)), np.zeros_like(first.bias), group, first.stride, pad, step)
    for kernel, coefficient in zip(kernels, coefficients, strict=True):
        total.weight[_places(kernel, total)] += coefficient * kernel.weight
        total.bias[:] += coefficient * kernel.bias
    return total


def _held(kernel: Kernel, kernels: Sequence[Kernel]) -> bool:
    """Whether a convolution of another branch has windows as long, less the padding at both ends."""
    ends = [reach - pad for reach, pad in zip(kernel.reach, kernel.pad, strict=True)]
    others = [other for other in kernels if other.whole]
    return any(ends == [r - p for r, p in zip(other.reach, other.pad, strict=True)] for other in others)


def _step(kernels: Sequence[Kernel], axis: int) -> int:
    """The greatest dilation at which one window has all the places of theirs."""
    begin = kernels[0].pad[axis]
    steps = [abs(kernel.pad[axis] - begin) for kernel in kernels]
    steps += [kernel.dilation[axis] for kernel in kernels if kernel.size[axis] > 1]
    return gcd(*steps) or 1


def _places(kernel: Kernel, total: Kernel) -> tuple[np.ndarray, ...]:
    """Where the weights of a convolution lie in that of the sum: an index array for each axis, to be broadcast."""
    outputs, width = kernel.weight.shape[:2]
    rows = np.arange(outputs)
    # The first channel that each output reads, less the first that its wider group reads.
    begins = rows // (outputs // kernel.group) * width - rows // (outputs // total.group) * total.weight.shape[1]
    index = [rows[:, None], begins[:, None] + np.arange(width)]
    axes = len(kernel.size)
    index = [array.reshape(*array.shape, *[1] * axes) for array in index]
    for axis in range(axes):
        step = total.dilation[axis]
        along = (total.pad[axis] - kernel.pad[axis] + kernel.dilation[axis] * np.arange(kernel.size[axis])) // step
        index.append(along.reshape(*[1] * (2 + axis), -1, *[1] * (axes - axis - 1)))
    return tuple(index)
