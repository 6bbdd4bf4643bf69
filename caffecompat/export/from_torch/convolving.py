"""Convolutions, transposed convolutions, zeros around a blob, matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.export.from_torch.registry import converts
from caffecompat.export.from_torch.resampling import resampled
from caffecompat.export.from_torch.scope import Scope, filled
from caffecompat.export.from_torch.values import Blob, Constant

_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
Pads = Sequence[tuple[int, int]]


@converts(*_CONVOLUTIONS)
def _convolution(scope: Scope) -> Blob:
    x, weight, bias = scope.blob("input"), scope.constant("weight"), scope.constant("bias")
    assert weight is not None
    axes = weight.tensor.dim() - 2
    stride, dilation = scope.pair("stride", axes), scope.pair("dilation", axes)
    kernel = weight.tensor.shape[2:]
    padding = scope.arg("padding")
    if padding == "same":
        wanted = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        pads = [(whole // 2, whole - whole // 2) for whole in wanted]
    elif padding == "valid":
        pads = [(0, 0)] * axes
    else:
        pads = [(pad, pad) for pad in scope.pair("padding", axes)]
    outer = x.pads or ((0, 0),) * axes
    pads = [(a + c, b + d) for (a, b), (c, d) in zip(pads, outer, strict=True)]
    even, weight, dilation = _even(weight, pads, dilation)
    return scope.layer(
        "Convolution",
        x,
        blobs=[weight] if bias is None else [weight, bias],
        num_output=weight.tensor.shape[0],
        kernel_size=_short(weight.tensor.shape[2:]),
        **_unless(1, stride=stride, dilation=dilation),
        **_unless(0, pad=even),
        **({"group": group} if (group := scope.arg("groups")) != 1 else {}),
        **({"bias_term": False} if bias is None else {}),
    )


def _short(sizes: Sequence[int]) -> list[int]:
    return [sizes[0]] if len(set(sizes)) == 1 else list(sizes)


def _unless(default: int, **sizes: Sequence[int]) -> dict[str, list[int]]:
    """The fields whose values are not all the default, each stated once if they are the same along all axes."""
    return {name: _short(values) for name, values in sizes.items() if set(values) != {default}}


def _even(weight: Constant, pads: Pads, dilation: Sequence[int]) -> tuple[list[int], Constant, tuple[int, ...]]:
    """Padding that is the same on both sides, which is all that Caffe knows, and a kernel that fits it.

    Where the sides differ, the kernel gets zeros on the side of the smaller pad: they meet the surplus.
    """
    if all(before == behind for before, behind in pads):
        return [before for before, _ in pads], weight, tuple(dilation)
    kernel = weight.tensor
    steps = list(dilation)
    around = []
    for axis, (before, behind) in enumerate(pads):
        surplus = abs(before - behind)
        if surplus % steps[axis]:
            kernel = _spread(kernel, axis + 2, steps[axis])
            steps[axis] = 1
        taps = surplus // steps[axis]
        around.append((taps, 0) if before < behind else (0, taps))
    kernel = functional.pad(kernel, [side for pair in reversed(around) for side in pair])
    return [max(pair) for pair in pads], Constant(kernel), tuple(steps)


def _spread(kernel: Tensor, axis: int, dilation: int) -> Tensor:
    """A kernel with the holes of its dilation as zeros."""
    shape = list(kernel.shape)
    shape[axis] = dilation * (shape[axis] - 1) + 1
    spread = kernel.new_zeros(shape)
    spread.index_copy_(axis, torch.arange(0, shape[axis], dilation), kernel)
    return spread


@converts("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def _deconvolution(scope: Scope) -> Blob:
    x, weight, bias = scope.blob("input"), scope.constant("weight"), scope.constant("bias")
    assert weight is not None
    axes = weight.tensor.dim() - 2
    group = scope.arg("groups")
    stride, dilation = scope.pair("stride", axes), list(scope.pair("dilation", axes))
    more = scope.pair("output_padding", axes)
    if any(more):
        # Zeros behind the kernel make room for what the output is to have more.
        kernel = weight.tensor
        for axis in range(axes):
            if more[axis] % dilation[axis]:
                kernel, dilation[axis] = _spread(kernel, axis + 2, dilation[axis]), 1
        around = [(0, size // step) for size, step in zip(more, dilation, strict=True)]
        weight = Constant(functional.pad(kernel, [side for pair in reversed(around) for side in pair]))
    return scope.layer(
        "Deconvolution",
        x,
        blobs=[weight] if bias is None else [weight, bias],
        num_output=weight.tensor.shape[1] * group,
        kernel_size=_short(weight.tensor.shape[2:]),
        **_unless(1, stride=stride, dilation=dilation),
        **_unless(0, pad=scope.pair("padding", axes)),
        **({"group": group} if group != 1 else {}),
        **({"bias_term": False} if bias is None else {}),
    )


@converts("pad", "constant_pad_nd", "reflection_pad2d", "replication_pad2d")
def _padding(scope: Scope) -> Blob:
    x = scope.blob()
    if scope.operation.startswith("re") or (scope.operation == "pad" and scope.arg("mode") != "constant"):
        return resampled(scope, x)
    sizes = [int(size) for size in scope.arg("pad")]
    axes = len(x.shape) - 2
    pads = [(sizes[index], sizes[index + 1]) for index in range(0, len(sizes), 2)][::-1]
    value = scope.arg("value")
    if len(pads) > axes or any(min(pair) < 0 for pair in pads) or value:
        raise scope.error(f"only zeros around the image can be added, got pads {sizes} of the value {value}")
    pads = [(0, 0)] * (axes - len(pads)) + pads
    if all(user in _CONVOLUTIONS for user in scope.users):
        return Blob(x.name, x.shape, pads=tuple(pads))
    channels = x.shape[1]
    even, kernel, _ = _even(Constant(filled(channels, 1, *[1] * axes)), pads, [1] * axes)
    return scope.layer(
        "Convolution",
        x,
        blobs=[kernel],
        fixed=True,
        num_output=channels,
        group=channels,
        bias_term=False,
        kernel_size=_short(kernel.tensor.shape[2:]),
        pad=_short(even),
    )


@converts("linear")
def _linear(scope: Scope) -> Blob:
    x, weight, bias = scope.blob("input"), scope.constant("weight"), scope.constant("bias")
    assert weight is not None
    axis = 1 if x.flat else len(x.shape) - 1
    return scope.layer(
        "InnerProduct",
        x,
        blobs=[weight] if bias is None else [weight, bias],
        num_output=weight.tensor.shape[0],
        **({"axis": axis} if axis != 1 else {}),
        **({"bias_term": False} if bias is None else {}),
    )


@converts("matmul", "mm")
def _product(scope: Scope) -> Blob:
    x, matrix = scope.blob(), scope.constant("other" if scope.operation == "matmul" else "mat2")
    if matrix is None or matrix.tensor.dim() != 2:
        raise scope.error("only a product with a matrix that is fixed can be said")
    return scope.layer(
        "InnerProduct",
        x,
        blobs=[matrix],
        num_output=matrix.tensor.shape[1],
        axis=len(x.shape) - 1,
        transpose=True,
        bias_term=False,
    )


def summed(scope: Scope, x: Blob, factor: float, part: str = "sum") -> Blob:
    """The channels of `x` added up, times a factor, as one channel."""
    axes = len(x.shape) - 2
    if axes < 1:
        raise scope.error(f"expected at least 3 axes, got {x.shape}")
    weight = filled(1, x.shape[1], *[1] * axes, value=factor)
    return scope.layer(
        "Convolution", x, part=part, blobs=[weight], fixed=True, num_output=1, kernel_size=1, bias_term=False
    )


@converts("pixel_shuffle")
def _pixel_shuffle(scope: Scope) -> Blob:
    x, factor = scope.blob(), scope.arg("upscale_factor")
    channels = scope.shape[1]
    kernel = torch.eye(factor * factor).view(-1, 1, factor, factor).repeat(channels, 1, 1, 1)
    return _placed(scope, "Deconvolution", x, kernel, channels, channels, factor)


@converts("pixel_unshuffle")
def _pixel_unshuffle(scope: Scope) -> Blob:
    x, factor = scope.blob(), scope.arg("downscale_factor")
    kernel = torch.eye(factor * factor).view(-1, 1, factor, factor).repeat(x.shape[1], 1, 1, 1)
    return _placed(scope, "Convolution", x, kernel, scope.shape[1], x.shape[1], factor)


def _placed(scope: Scope, type_: str, x: Blob, kernel: Tensor, outputs: int, group: int, stride: int) -> Blob:
    return scope.layer(
        type_,
        x,
        blobs=[kernel],
        fixed=True,
        num_output=outputs,
        group=group,
        kernel_size=stride,
        stride=stride,
        bias_term=False,
    )


@converts("channel_shuffle")
def _channel_shuffle(scope: Scope) -> Blob:
    return shuffled(scope, scope.blob(), scope.arg("groups"))


def shuffled(scope: Scope, x: Blob, groups: int) -> Blob:
    """The channels in turn from each group, by a convolution of ones and zeros."""
    channels = prod(x.shape[1:2])
    order = torch.arange(channels).view(groups, -1).t().flatten()
    kernel = torch.eye(channels)[order].view(channels, channels, *[1] * (len(x.shape) - 2))
    return scope.layer(
        "Convolution", x, blobs=[kernel], fixed=True, num_output=channels, kernel_size=1, bias_term=False
    )
