"""Convolution, Deconvolution and Im2col."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from caffecompat.export.source.item import Argument
from caffecompat.export.source.registry import Site, writes
from caffecompat.layers.base import Layer
from caffecompat.layers.convolution import Convolution, Convolving, Deconvolution, DepthwiseConvolution, Im2col


def folded(sizes: Sequence[int]) -> int | tuple[int, ...]:
    """One number where all are equal."""
    return sizes[0] if len(set(sizes)) == 1 else tuple(sizes)


def tensors_of(layer: Layer, *names: str) -> dict[str, Tensor]:
    """Blobs of a layer by name, those that it has."""
    found = {name: getattr(layer, name) for name in names}
    return {name: blob for name, blob in found.items() if blob is not None}


def _arguments(layer: Convolving) -> list[Argument]:
    window = layer.window
    return [
        Argument(layer.channels, "", "in_channels"),
        Argument(layer.outputs, "", "out_channels"),
        Argument(folded(window.kernel), "", "kernel_size"),
        Argument(folded(window.stride), "stride", "stride", 1),
        Argument(folded(window.pad), "padding", "padding", 0),
        Argument(folded(window.dilation), "dilation", "dilation", 1),
        Argument(layer.group, "groups", "groups", 1),
        Argument(layer.bias is not None, "bias", "", True),
    ]


def _write(layer: Convolving, at: Site, function: str) -> None:
    """Axes before the channels become one while the module runs, or one is added."""
    tensors = tensors_of(layer, "weight", "bias")
    name = f"nn.{function}{layer.spatial_axes}d"
    first = len(at.items)
    for place, (bottom, top) in enumerate(zip(at.bottoms, at.tops, strict=True)):
        axis = layer.channel_axis
        source, target = (bottom, top) if axis == 1 else (at.between(), at.between())
        if axis == 0:
            at.function("wrap", "{0}.unsqueeze(0)", [bottom], [source])
        elif axis > 1:
            at.function("merge", f"{{0}}.flatten(0, {axis - 1})", [bottom], [source])
        kind = "conv" if function == "Conv" else "deconv"
        at.module(kind, name, _arguments(layer), tensors, [source], [target])
        if place:
            at.items[-1].shares = next(item for item in at.items[first:] if item.has_module)
        if axis == 0:
            at.function("unwrap", "{0}.squeeze(0)", [target], [top])
        elif axis > 1:
            at.function("part", f"{{0}}.unflatten(0, {{1}}.shape[:{axis}])", [target, bottom], [top])


@writes(Convolution, DepthwiseConvolution)
def convolution(layer: Convolution, at: Site) -> None:
    _write(layer, at, "Conv")


@writes(Deconvolution)
def deconvolution(layer: Deconvolution, at: Site) -> None:
    arguments = _arguments(layer)
    if layer.channel_axis == 1 and len(at.bottoms) == 1:
        at.module("deconv", f"nn.ConvTranspose{layer.spatial_axes}d", arguments, tensors_of(layer, "weight", "bias"))
    else:
        _write(layer, at, "ConvTranspose")


@writes(Im2col)
def im2col(layer: Im2col, at: Site) -> None:
    if layer.channel_axis != 1 or layer.spatial_axes != 2:
        raise at.error("Im2col is written for pictures (num, channels, height, width) alone")
    kernel, stride, pad, dilation = layer.window
    columns = at.between()
    at.function("columns", f"F.unfold({{0}}, {kernel}, {dilation}, {pad}, {stride})", outputs=[columns])
    places = [
        f"({{1}}.shape[{axis + 2}] + {2 * pad[axis] - layer.window.extent[axis]}) // {stride[axis]} + 1"
        for axis in (0, 1)
    ]
    at.function("im2col", f"{{0}}.unflatten(2, ({places[0]}, {places[1]}))", [columns, at.bottoms[0]])
