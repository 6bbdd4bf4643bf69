"""Resize and Resample: rows and columns weighed apart, each a product with a matrix of constants."""

from __future__ import annotations

from caffecompat.export.axes import Sizes
from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import Value
from caffecompat.layers.pooling import Pair
from caffecompat.layers.resampling import Resample, Resize


@emits(Resize, Resample, precision=Precision.SINGLE)
def resample(layer: Resize | Resample, at: Scope) -> Value:
    rows, columns = layer.matrices(_size(at, at.shapes[0]), _size(at, at.tops[0]))
    right = at.op("MatMul", at.bottoms[0], at.initializer("columns", columns.t().numpy()))
    return at.op("MatMul", at.initializer("rows", rows.numpy()), right)


def _size(at: Scope, shape: Sizes) -> Pair:
    """Height and width, which must be known."""
    height, width = shape[2:]
    if height is None or width is None:
        raise at.error("the weights of its rows and columns depend on the size", "export it for one size")
    return height, width
