"""Pooling and SPP, by Caffe's rule about the last window.

Where the sizes are known, the pads state exactly the windows that Caffe takes, so that no program's idea of `ceil_mode`
matters. Where they vary, `ceil_mode` is used only if all its readings agree, and explicit padding otherwise.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from caffecompat.export.onnx.registry import emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import BOOL, FLOAT, INT64, Size, Value, greatest
from caffecompat.export.sampling import Array
from caffecompat.layers.pooling import AVE, MAX, SPP, Pair, Pooling, Window

LEAST = float(np.finfo(np.float32).min)


def _fixed(at: Scope) -> Pair | None:
    """Height and width, if they are known."""
    height, width = at.shapes[0][2:]
    return None if height is None or width is None else (height, width)


def _places(window: Window, axis: int, size: Size) -> Size:
    """How many places the window takes on an axis, as `Window.places`."""
    kernel, stride, pad = window.kernel[axis], window.stride[axis], window.pad[axis]
    places = (size + 2 * pad - kernel + (stride - 1 if window.ceil else 0)) // stride + 1
    if any(window.pad):
        # Caffe: a last place that begins beyond the image and its leading pad is dropped.
        fitting = (size + pad - 1) // stride + 1
        places = places - greatest(0, places - fitting)
    return places


def _overhang(window: Window, axis: int, size: Size) -> Size:
    """How far the last place reaches beyond the image; 0 if it does not."""
    kernel, stride, pad = window.kernel[axis], window.stride[axis], window.pad[axis]
    return greatest(0, (_places(window, axis, size) - 1) * stride + kernel - pad - size)


def _overhangs(at: Scope, window: Window, x: Value) -> tuple[Size, Size]:
    below, right = (_overhang(window, axis, at.size(x, axis + 2)) for axis in (0, 1))
    return below, right


def _padded(at: Scope, x: Value, window: Window, overhang: tuple[Size, Size], value: float) -> Value:
    pads = at.vector([0, 0, *window.pad, 0, 0, *overhang])
    return at.op("Pad", x, pads, value, mode="constant")


def _agrees(window: Window) -> bool:
    """Whether all readings of `ceil_mode` take the same places, whatever the size, and no place is empty."""
    return all(
        window.pad[axis] + window.stride[axis] <= window.kernel[axis] or (window.stride[axis] == 1) for axis in (0, 1)
    ) and all(2 * window.pad[axis] <= window.kernel[axis] for axis in (0, 1))


def _attributes(window: Window) -> dict[str, Any]:
    return {"kernel_shape": list(window.kernel), "strides": list(window.stride)}


def _pads(window: Window, overhang: tuple[Size, Size]) -> list[int] | None:
    """The pads as an attribute; None if they are not known, or larger than ONNX Runtime allows."""
    below, right = overhang
    if not isinstance(below, int) or not isinstance(right, int):
        return None
    pads = [*window.pad, below, right]
    return pads if all(pad < window.kernel[place % 2] for place, pad in enumerate(pads)) else None


def _max(at: Scope, x: Value, window: Window) -> Value:
    if _fixed(at) is None and _agrees(window):
        return at.op("MaxPool", x, pads=[*window.pad, *window.pad], ceil_mode=int(window.ceil), **_attributes(window))
    overhang = _overhangs(at, window, x)
    pads = _pads(window, overhang)
    if pads is not None:
        return at.op("MaxPool", x, pads=pads, **_attributes(window))
    return at.op("MaxPool", _padded(at, x, window, overhang, _least(at)), **_attributes(window))


def _least(at: Scope) -> float:
    return LEAST if at.dtype == FLOAT else float(np.finfo(np.float16).min)


def _average(at: Scope, x: Value, window: Window) -> Value:
    """Caffe: the sum divided by how much of the place lies within the image and its pads, as stated."""
    size = _fixed(at)
    if size is None and not any(window.pad) and _agrees(window):
        ceil = int(window.ceil)
        return at.op("AveragePool", x, ceil_mode=ceil, count_include_pad=0, **_attributes(window))
    overhang = _overhangs(at, window, x)
    pads = _pads(window, overhang)
    if pads is not None and not any(window.pad):
        return at.op("AveragePool", x, pads=pads, count_include_pad=0, **_attributes(window))
    if pads is not None:
        mean = at.op("AveragePool", x, pads=pads, count_include_pad=1, **_attributes(window))
    else:
        mean = at.op("AveragePool", _padded(at, x, window, overhang, 0.0), **_attributes(window))
    if size is not None:
        share = _shares(window, size)
        return mean if (share == 1).all() else at.op("Div", mean, share)
    if all(stride == 1 for stride in window.stride):
        return mean
    rows, columns = (_lengths(at, window, axis, at.size(x, axis + 2)) for axis in (0, 1))
    return at.op("Div", mean, at.op("Mul", at.unsqueeze(rows, 1), columns))


def _lengths(at: Scope, window: Window, axis: int, size: Size) -> Value:
    """What `_shares` gives for one axis, whose size varies; of one axis."""
    kernel = window.kernel[axis]
    zero, stride = (at.value(np.array(number, dtype=np.int64)) for number in (0, window.stride[axis]))
    end = at.scalar(_places(window, axis, size) * window.stride[axis])
    starts = at.op("Range", zero, end, stride)
    ends = at.op("Min", at.op("Add", starts, at.ints(kernel)), at.sized(size + 2 * window.pad[axis]))
    return at.op("Div", at.cast(at.op("Sub", ends, starts), at.dtype), float(kernel))


def _shares(window: Window, size: Pair) -> Array:
    """(1, 1, rows, columns): the part of the kernel's area that each place's divisor is."""
    parts = [
        np.array(
            [
                min(place * window.stride[axis] + window.kernel[axis], size[axis] + 2 * window.pad[axis])
                - place * window.stride[axis]
                for place in range(window.places(size)[axis])
            ],
            np.float32,
        )
        / window.kernel[axis]
        for axis in (0, 1)
    ]
    return np.asarray(parts[0][:, None] * parts[1], np.float32)[None, None]


def _stochastic(at: Scope, x: Value, window: Window) -> Value:
    """In test: the mean of the values weighted by themselves."""
    padded = _padded(at, x, window, _overhangs(at, window, x), 0.0)
    means = (at.op("AveragePool", each, **_attributes(window)) for each in (at.op("Mul", padded, padded), padded))
    squares, sums = (at.op("Mul", mean, float(prod(window.kernel))) for mean in means)
    return at.op("Div", squares, at.op("Max", sums, float(np.finfo(np.float32).tiny)))


def _pool(at: Scope, x: Value, method: int, window: Window) -> Value:
    if method == MAX:
        return _max(at, x, window)
    return _average(at, x, window) if method == AVE else _stochastic(at, x, window)


def _max_with_mask(at: Scope, x: Value, window: Window) -> tuple[Value, Value]:
    """The second: row * width + column within the channel, -1 for a place beyond the image."""
    overhang = _overhangs(at, window, x)
    pads = _pads(window, overhang)
    height, width = (at.size(x, axis) for axis in (2, 3))
    if pads is not None:
        top, index = at.ops("MaxPool", 2, x, pads=pads, **_attributes(window))
        index = Value(index.name, INT64)
        index = at.op("Mod", index, at.sized(height * width))
        return top, at.cast(index, at.dtype)
    top, index = at.ops("MaxPool", 2, _padded(at, x, window, overhang, _least(at)), **_attributes(window))
    index = Value(index.name, INT64)
    rows, columns = height + window.pad[0] + overhang[0], width + window.pad[1] + overhang[1]
    index = at.op("Mod", index, at.sized(rows * columns))
    row = at.op("Sub", at.op("Div", index, at.sized(columns)), at.ints(window.pad[0]))
    column = at.op("Sub", at.op("Mod", index, at.sized(columns)), at.ints(window.pad[1]))
    place = at.op("Add", at.op("Mul", row, at.sized(width)), column)
    inside = _within(at, row, height, column, width)
    return top, at.cast(at.op("Where", inside, place, at.ints(-1), dtype=INT64), at.dtype)


def _within(at: Scope, row: Value, height: Size, column: Value, width: Size) -> Value:
    tests = []
    for value, size in ((row, height), (column, width)):
        tests.append(at.op("GreaterOrEqual", value, at.ints(0), dtype=BOOL))
        tests.append(at.op("Less", value, at.sized(size), dtype=BOOL))
    inside = tests[0]
    for test in tests[1:]:
        inside = at.op("And", inside, test)
    return inside


@emits(Pooling)
def pooling(layer: Pooling, at: Scope) -> Value | tuple[Value, ...]:
    (x,) = at.bottoms
    if layer.window is None and not layer.mask and layer.method in (MAX, AVE):
        return at.op("GlobalMaxPool" if layer.method == MAX else "GlobalAveragePool", x)
    window = layer.window
    if window is None:
        size = _fixed(at)
        if size is None:
            raise at.error("a global pooling of this kind needs a fixed size")
        window = Window(size, (1, 1), (0, 0))
    return _max_with_mask(at, x, window) if layer.mask else _pool(at, x, layer.method, window)


@emits(SPP)
def spp(layer: SPP, at: Scope) -> Value:
    size = _fixed(at)
    if size is None:
        raise at.error("the bins of SPP depend on the size: it must be fixed")
    (x,) = at.bottoms
    tops = [_pool(at, x, layer.method, layer._level(level, size)) for level in range(layer.levels)]
    if layer.levels == 1:
        return tops[0]
    return at.op("Concat", *(at.op("Flatten", top, axis=1) for top in tops), axis=1)
