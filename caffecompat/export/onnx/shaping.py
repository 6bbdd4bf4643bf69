"""Reshape, Flatten, Permute, Tile, ShuffleChannel, Padding and Reorg."""

from __future__ import annotations

from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import Value
from caffecompat.layers.channels import Padding, ShuffleChannel
from caffecompat.layers.reshape import Flatten, Permute, Reshape, Tile
from caffecompat.layers.yolo import Reorg


@emits(Reshape, precision=Precision.KEPT)
def reshape(layer: Reshape, at: Scope) -> Value:
    param = layer.spec.message.reshape_param
    (x,) = at.bottoms
    sizes = at.sizes_of(x)
    start = param.axis if param.axis >= 0 else len(sizes) + param.axis + 1
    end = len(sizes) if param.num_axes == -1 else start + param.num_axes
    stated = [sizes[place] if size == 0 else size for place, size in enumerate(param.shape.dim, start)]
    target = [*sizes[:start], *stated, *sizes[end:]]
    # A size that ONNX would read as "copy" says nothing where the whole is known.
    known = at.tops[0]
    return at.reshape(x, [new if size is None else size for new, size in zip(target, known, strict=True)])


@emits(Flatten, precision=Precision.KEPT)
def flatten(layer: Flatten, at: Scope) -> Value:
    param = layer.spec.message.flatten_param
    (x,) = at.bottoms
    dims = len(at.shapes[0])
    first, last = layer.axis(param.axis, dims), layer.axis(param.end_axis, dims)
    if first > last:
        return at.unsqueeze(x, first)
    if first == 1 and last == dims - 1:
        return at.op("Flatten", x, axis=1)
    return at.flatten(x, first, last)


@emits(Permute, precision=Precision.KEPT)
def permute(layer: Permute, at: Scope) -> Value:
    order = list(layer.spec.message.permute_param.order)
    return at.transpose(at.bottoms[0], *order, *(axis for axis in range(len(at.shapes[0])) if axis not in order))


@emits(Tile, precision=Precision.KEPT)
def tile(layer: Tile, at: Scope) -> Value:
    param = layer.spec.message.tile_param
    repeats = [1] * len(at.shapes[0])
    repeats[layer.axis(param.axis, len(repeats))] = param.tiles
    return at.op("Tile", at.bottoms[0], at.ints(*repeats))


@emits(ShuffleChannel, precision=Precision.KEPT)
def shuffle_channel(layer: ShuffleChannel, at: Scope) -> Value:
    (x,) = at.bottoms
    sizes = at.sizes_of(x)
    channels = at.shapes[0][1]
    assert channels is not None
    grouped = at.reshape(x, [sizes[0], layer.group, channels // layer.group, *sizes[2:]])
    turned = at.transpose(grouped, 0, 2, 1, *range(3, len(sizes) + 1))
    return at.reshape(turned, sizes)


@emits(Padding)
def padding(layer: Padding, at: Scope) -> Value:
    left, right, above, below = layer.sides
    return at.op("Pad", at.bottoms[0], at.ints(0, 0, above, left, 0, 0, below, right), layer.value, mode="constant")


@emits(Reorg, precision=Precision.KEPT)
def reorg(layer: Reorg, at: Scope) -> Value:
    param = layer.spec.message.reorg_param
    (x,) = at.bottoms
    stride = param.stride
    items, channels, height, width = at.sizes_of(x)
    assert isinstance(channels, int)
    inner = channels // stride**2
    if param.reverse:
        blocks = at.reshape(x, [items, stride, stride, inner, height, width])
        return at.reshape(at.transpose(blocks, 0, 3, 4, 1, 5, 2), [items, inner, height * stride, width * stride])
    blocks = at.reshape(x, [items, inner, height, stride, width, stride])
    top = at.transpose(blocks, 0, 3, 5, 1, 2, 4)
    return at.reshape(top, [items, channels * stride**2, height // stride, width // stride])
