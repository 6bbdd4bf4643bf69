"""Interp, Upsample and MaxUnpool."""

from __future__ import annotations

import numpy as np

from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import FLOAT, INT64, Size, Value
from caffecompat.layers.upsampling import Interp, MaxUnpool, Nearest, UpsampleByMask


@emits(Interp, precision=Precision.SINGLE)
def interp(layer: Interp, at: Scope) -> Value:
    (x,) = at.bottoms
    sizes = at.sizes_of(x)
    if layer.fixed is not None:
        target: list[Size] = [*layer.fixed]
    else:
        shrunk = [(size - layer.before - layer.behind - 1) // layer.shrink + 1 for size in sizes[2:]]
        target = [size + (size - 1) * (layer.zoom - 1) for size in shrunk]
    for axis in (2, 3) if layer.before or layer.behind else ():
        x = at.slice(x, axis, layer.before, sizes[axis] - layer.behind)
    return at.op(
        "Resize",
        x,
        None,
        None,
        at.vector([*sizes[:2], *target]),
        mode="linear",
        coordinate_transformation_mode="align_corners",
    )


@emits(Nearest, precision=Precision.KEPT)
def nearest(layer: Nearest, at: Scope) -> Value:
    scales = np.array([1, 1, *layer.scales], np.float32)
    return at.op(
        "Resize",
        at.bottoms[0],
        None,
        at.model.constant(f"{layer.spec.name}/scales", scales, FLOAT),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )


@emits(UpsampleByMask, MaxUnpool)
def unpool(layer: UpsampleByMask | MaxUnpool, at: Scope) -> Value:
    """Each value at the place in its channel that the mask says."""
    x, mask = at.bottoms
    items, channels, *size = at.sizes_of(x)
    height: Size
    width: Size
    if isinstance(layer, UpsampleByMask):
        if layer.fixed is not None:
            height, width = layer.fixed
        else:
            height, width = (size[axis] * layer.scales[axis] - layer.missing[axis] for axis in (0, 1))
    else:
        height, width = (
            (size[axis] - 1) * layer.stride[axis] + layer.kernel[axis] - 2 * layer.pad[axis] for axis in (0, 1)
        )
    flat, places = (at.reshape(each, [items, channels, -1]) for each in (x, at.cast(mask, INT64)))
    zeros = at.fill(at.vector([items, channels, height * width]), 0.0)
    top = at.op("ScatterElements", zeros, places, flat, axis=2)
    return at.reshape(Value(top.name, top.dtype, (*at.shapes[0][:2], None)), [items, channels, height, width])
