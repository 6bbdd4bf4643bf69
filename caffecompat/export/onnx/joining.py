"""Concat, Slice, Crop, Split, Silence, Filter and BatchReindex."""

from __future__ import annotations

from itertools import pairwise

from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import BOOL, INT64, Size, Value
from caffecompat.layers.joining import Concat, Crop, Silence, Slice, Split
from caffecompat.layers.selecting import BatchReindex, Filter


@emits(Concat, precision=Precision.KEPT)
def concat(layer: Concat, at: Scope) -> Value:
    param = layer.spec.message.concat_param
    axis = param.concat_dim if param.HasField("concat_dim") else param.axis
    if len(at.bottoms) == 1:
        return at.bottoms[0]
    return at.op("Concat", *at.bottoms, axis=layer.axis(axis, len(at.shapes[0])))


@emits(Slice, precision=Precision.KEPT)
def slice_(layer: Slice, at: Scope) -> tuple[Value, ...]:
    param = layer.spec.message.slice_param
    (x,) = at.bottoms
    count = len(layer.spec.tops)
    if count == 1:
        return (x,)
    axis = layer.axis(param.slice_dim if param.HasField("slice_dim") else param.axis, len(at.shapes[0]))
    whole = at.size(x, axis)
    if param.slice_point:
        edges: list[Size] = [0, *param.slice_point, whole]
        sizes = [end - start for start, end in pairwise(edges)]
    else:
        sizes = [whole // count] * count
    return at.ops("Split", count, x, at.vector(sizes), axis=axis)


@emits(Crop, precision=Precision.KEPT)
def crop(layer: Crop, at: Scope) -> Value:
    param = layer.spec.message.crop_param
    x, like = at.bottoms
    dims = len(at.shapes[0])
    first = layer.axis(param.axis, dims)
    axes = range(first, dims)
    offsets = list(param.offset) or [0]
    offsets = offsets * len(axes) if len(offsets) == 1 else offsets
    ends = [at.size(like, axis) + offset for axis, offset in zip(axes, offsets, strict=True)]
    return at.op("Slice", x, at.ints(*offsets), at.vector(ends), at.ints(*axes), at.ints(*[1] * len(axes)))


@emits(Split, precision=Precision.KEPT)
def split(layer: Split, at: Scope) -> tuple[Value, ...]:
    return at.bottoms * len(layer.spec.tops)


@emits(Silence, precision=Precision.KEPT)
def silence(layer: Silence, at: Scope) -> tuple[Value, ...]:
    return ()


@emits(Filter, precision=Precision.KEPT)
def filter_(layer: Filter, at: Scope) -> list[Value]:
    *filtered, selector = at.bottoms
    chosen = at.cast(at.op("Reshape", selector, at.ints(-1)), BOOL)
    return [at.op("Compress", x, chosen, axis=0) for x in filtered]


@emits(BatchReindex, precision=Precision.KEPT)
def batch_reindex(layer: BatchReindex, at: Scope) -> Value:
    x, order = at.bottoms
    return at.op("Gather", x, at.cast(order, INT64), axis=0)
