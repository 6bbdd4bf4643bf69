"""Convolution, Deconvolution and Im2col."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from caffecompat.export.onnx.registry import emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import Value
from caffecompat.layers.convolution import (
    Convolution,
    Convolving,
    Deconvolution,
    DepthwiseConvolution,
    Im2col,
    Window,
)

# Im2col needs a weight for each pair of values of the kernel.
_MAX_PICKS = 2**24


def _attributes(window: Window) -> dict[str, Any]:
    return {
        "kernel_shape": list(window.kernel),
        "strides": list(window.stride),
        "pads": [*window.pad, *window.pad],
        "dilations": list(window.dilation),
    }


def _convolve(layer: Convolving, at: Scope, type_: str, x: Value) -> Value:
    """Axes before the channels become the one that ONNX has there, and come back afterwards."""
    axis = layer.channel_axis
    sizes = at.sizes_of(x)
    if axis == 0:
        x = at.unsqueeze(x, 0)
    elif axis > 1:
        x = at.reshape(x, [-1, *sizes[axis:]])
    bias = None if layer.bias is None else at.parameter("bias")
    inputs = [x, at.parameter("weight"), *([] if bias is None else [bias])]
    y = at.op(type_, *inputs, group=layer.group, **_attributes(layer.window))
    if axis == 0:
        return at.op("Squeeze", y, at.ints(0))
    if axis > 1:
        behind = at.tops[0][axis:]
        if None in behind:
            raise at.error("sizes that vary need the channels on axis 0 or 1", "export it for one size")
        return at.reshape(y, [*sizes[:axis], *(size or 0 for size in behind)])
    return y


@emits(Convolution, DepthwiseConvolution)
def convolution(layer: Convolution, at: Scope) -> list[Value]:
    return [_convolve(layer, at, "Conv", x) for x in at.bottoms]


@emits(Deconvolution)
def deconvolution(layer: Deconvolution, at: Scope) -> list[Value]:
    return [_convolve(layer, at, "ConvTranspose", x) for x in at.bottoms]


@emits(Im2col)
def im2col(layer: Im2col, at: Scope) -> Value:
    """Each place of the kernel as a convolution that picks it, a group for each channel."""
    axis, kernel = layer.channel_axis, layer.window.kernel
    channels = at.shapes[0][axis]
    if axis != 1 or channels is None:
        raise at.error("Im2col is exported with the channels on axis 1 alone")
    if channels * prod(kernel) ** 2 > _MAX_PICKS:
        raise at.error(f"a kernel of {prod(kernel)} values in {channels} channels is too large to be written out")
    picks = np.eye(prod(kernel), dtype=np.float32).reshape(-1, 1, *kernel)
    weight = at.initializer("picks", np.tile(picks, (channels, *([1] * (len(kernel) + 1)))))
    return at.op("Conv", at.bottoms[0], weight, group=channels, **_attributes(layer.window))
