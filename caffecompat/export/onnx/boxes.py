"""PriorBox: constants where the sizes are known, otherwise computed from them."""

from __future__ import annotations

import numpy as np
import torch

from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import DOUBLE, FLOAT, INT64, Size, Value
from caffecompat.export.sampling import Array
from caffecompat.layers.prior_box import PriorBox


@emits(PriorBox, precision=Precision.SINGLE)
def prior_box(layer: PriorBox, at: Scope) -> Value:
    features, image = at.shapes[:2]
    spatial = (*features[2:], *(() if layer.image else image[2:]))
    if None not in spatial:
        sizes = [[1, 1, *(size or 1 for size in shape[2:])] for shape in (features, image)]
        with torch.no_grad():
            priors = layer(*(torch.empty(1).expand(size) for size in sizes))
        return at.initializer("priors", priors.numpy())
    return _computed(layer, at)


def _computed(layer: PriorBox, at: Scope) -> Value:
    """The same arithmetic as `PriorBox._priors`, with the original's roundings."""
    features, image = at.bottoms[:2]
    cells = [at.size(features, axis) for axis in (2, 3)]
    if layer.image:
        pixels: list[Value] = [at.value(np.float32(size)) for size in layer.image]
    else:
        pixels = [_float(at, at.size(image, axis)) for axis in (2, 3)]
    count = len(layer.box_sizes)
    half = layer.box_sizes.astype(np.float64) / 2
    corners: dict[int, Value] = {}
    grid = at.vector([*cells, count, 1])
    for axis, (row, shape) in enumerate(((1, [1, -1, 1, 1]), (0, [-1, 1, 1, 1]))):
        step: Value
        if layer.step:
            step = at.value(np.float32(layer.step[row]))
        else:
            step = at.op("Div", pixels[row], _float(at, cells[row]))
        center = at.op("Mul", at.op("Add", _range(at, cells[row]), float(layer.offset)), step)
        center = at.op("Reshape", at.cast(center, DOUBLE), at.ints(*shape))
        size = at.cast(pixels[row], DOUBLE)
        reach = at.model.constant(f"{layer.spec.name}/half", half[:, axis].reshape(1, 1, count, 1), DOUBLE)
        for corner, operator in ((axis, "Sub"), (axis + 2, "Add")):
            place = at.cast(at.op("Div", at.op(operator, center, reach), size), FLOAT)
            corners[corner] = at.op("Expand", place, grid)
    boxes = at.op("Concat", *(corners[corner] for corner in range(4)), axis=3)
    if layer.clip:
        boxes = at.op("Clip", boxes, 0.0, 1.0)
    variances = at.op("Expand", at.value(_row(layer.variance)), at.op("Shape", boxes, dtype=INT64))
    both = [at.op("Reshape", part, at.ints(1, 1, -1)) for part in (boxes, variances)]
    return at.op("Concat", *both, axis=1)


def _row(values: Array) -> Array:
    return values.reshape(1, 1, 1, -1)


def _float(at: Scope, size: Size) -> Value:
    return at.cast(at.scalar(size), FLOAT)


def _range(at: Scope, size: Size) -> Value:
    """0, 1, ... below a size, as floats."""
    zero, one = (at.value(np.array(number, dtype=np.int64)) for number in (0, 1))
    return at.cast(at.op("Range", zero, at.scalar(size), one), FLOAT)
