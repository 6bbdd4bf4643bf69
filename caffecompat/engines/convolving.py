"""Convolutions and matrix products in the form that runs fastest in eager PyTorch, a ReLU behind them included."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.engines.winograd import Places, Scratch, Winograd
from caffecompat.graph.spec import Shape
from caffecompat.layers.convolution import Convolution
from caffecompat.layers.inner_product import InnerProduct

Unary = Callable[[Tensor], Tensor]


def convolution(layer: Convolution, bottom: Shape, scratch: Scratch, dtype: torch.dtype, *, relu: bool) -> Unary:
    """A convolution over two axes.

    Args:
        layer: the layer, of one bottom.
        bottom: the shape that the bottom will mostly have.
        scratch: memory that convolutions share.
        dtype: what it computes in.
        relu: whether negative values become 0.
    """
    (top,) = layer.shapes(bottom)
    window = layer.window
    places = Places((top[2], top[3]), (window.pad[0], window.pad[1]), (window.dilation[0], window.dilation[1]))
    simple = window.kernel == (3, 3) and window.stride == (1, 1) and layer.group == 1
    weight, bias = _owned(layer.weight, dtype), None if layer.bias is None else _owned(layer.bias, dtype)
    if simple and dtype == torch.float32 and places.pays(layer.channels, layer.outputs, bottom[0]):
        return _winograd(Winograd(weight, bias, scratch, relu=relu), layer)
    return _packed(layer, weight, bias, bottom, relu=relu) or _plain(layer, weight, bias, relu=relu)


def inner_product(layer: InnerProduct, dtype: torch.dtype, *, relu: bool) -> Unary:
    """The matrix product of a layer; its bottom and top as the layer's."""
    weight, bias = _owned(layer.weight, dtype), None if layer.bias is None else _owned(layer.bias, dtype)
    if layer.transpose:
        weight = weight.t()

    def call(x: Tensor) -> Tensor:
        # Flattened as Caffe counts the values: by channel, then by row.
        y = functional.linear(x.to(dtype).flatten(layer.first_axis), weight, bias)
        return functional.relu_(y) if relu else y

    return call


def _owned(blob: Tensor, dtype: torch.dtype) -> Tensor:
    """The values in memory that begins where processors like it: those of a mapped file may begin anywhere."""
    blob = blob.detach()
    return blob.clone() if blob.dtype == dtype and blob.data_ptr() % 64 else blob.to(dtype)


def _winograd(call: Winograd, layer: Convolution) -> Unary:
    window = layer.window

    def run(x: Tensor) -> Tensor:
        (top,) = layer.shapes(tuple(x.shape))
        size, pad, dilation = ((pair[0], pair[1]) for pair in ((top[2], top[3]), window.pad, window.dilation))
        return call(x, Places(size, pad, dilation))

    return run


def _packed(layer: Convolution, weight: Tensor, bias: Tensor | None, bottom: Shape, *, relu: bool) -> Unary | None:
    """By oneDNN, its weight laid out once for all; None where this PyTorch has no such thing."""
    window = layer.window
    pad, stride, dilation = list(window.pad), list(window.stride), list(window.dilation)
    after = "relu" if relu else "none"
    try:
        pack = torch.ops.mkldnn._reorder_convolution_weight
        run = torch.ops.mkldnn._convolution_pointwise
        packed = pack(weight, pad, stride, dilation, layer.group, list(bottom))
    except (AttributeError, RuntimeError):
        return None

    def call(x: Tensor) -> Tensor:
        x = x.to(weight.dtype).contiguous(memory_format=torch.channels_last)
        found: Tensor = run(x, packed, bias, pad, stride, dilation, layer.group, after, [], "")
        return found

    try:
        # Whether this processor computes it shows on the smallest input.
        call(torch.zeros(1, bottom[1], *window.extent, dtype=weight.dtype))
    except RuntimeError:
        return None
    return call


def _plain(layer: Convolution, weight: Tensor, bias: Tensor | None, *, relu: bool) -> Unary:
    window = layer.window
    weight = weight.contiguous(memory_format=torch.channels_last)

    def call(x: Tensor) -> Tensor:
        x = x.to(weight.dtype).contiguous(memory_format=torch.channels_last)
        y = functional.conv2d(x, weight, bias, window.stride, window.pad, window.dilation, layer.group)
        return functional.relu_(y) if relu else y

    return call
