"""InnerProduct, Embed, Scale, Bias, Axpy and Parameter: layers whose weights multiply or are added."""

from __future__ import annotations

from caffecompat.export.onnx.registry import emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import INT64, Value
from caffecompat.layers.channels import Axpy
from caffecompat.layers.inner_product import Embed, InnerProduct
from caffecompat.layers.scale import Bias, Scale
from caffecompat.layers.selecting import Parameter


@emits(InnerProduct)
def inner_product(layer: InnerProduct, at: Scope) -> Value:
    (x,) = at.bottoms
    first = layer.first_axis
    sizes = at.sizes_of(x)
    if (len(sizes), first) != (2, 1):
        x = at.op("Flatten", x, axis=first)
    weight = at.parameter("weight")
    bias = [] if layer.bias is None else [at.parameter("bias")]
    y = at.op("Gemm", x, weight, *bias, transB=int(not layer.transpose))
    return (
        y if first == 1 else at.reshape(Value(y.name, y.dtype, (None, layer.outputs)), [*sizes[:first], layer.outputs])
    )


@emits(Embed)
def embed(layer: Embed, at: Scope) -> Value:
    rows = at.op("Gather", at.parameter("weight"), at.cast(at.bottoms[0], INT64))
    return rows if layer.bias is None else at.op("Add", rows, at.parameter("bias"))


def _spread(layer: Scale | Bias, at: Scope, name: str) -> Value:
    """A blob of the layer with axes of 1 behind it, so that it broadcasts over the bottom."""
    behind = len(at.shapes[0]) - layer.first_axis - len(layer.operand)
    return at.parameter(name, *layer.operand, *[1] * behind)


def _operand(layer: Scale | Bias, at: Scope, name: str) -> Value:
    """The second bottom, or the blob."""
    if len(at.bottoms) == 1:
        return _spread(layer, at, name)
    axes = len(at.shapes[1])
    behind = len(at.shapes[0]) - layer.first_axis - axes
    return at.unsqueeze(at.bottoms[1], *range(axes, axes + behind)) if behind else at.bottoms[1]


@emits(Scale)
def scale(layer: Scale, at: Scope) -> Value:
    y = at.op("Mul", at.bottoms[0], _operand(layer, at, "weight"))
    return y if layer.bias is None else at.op("Add", y, _spread(layer, at, "bias"))


@emits(Bias)
def bias(layer: Bias, at: Scope) -> Value:
    return at.op("Add", at.bottoms[0], _operand(layer, at, "bias"))


@emits(Axpy)
def axpy(layer: Axpy, at: Scope) -> Value:
    factor, x, y = at.bottoms
    axes, wanted = len(at.shapes[0]), len(at.shapes[1])
    if axes < wanted:
        factor = at.unsqueeze(factor, *range(axes, wanted))
    elif axes > wanted:
        factor = at.op("Squeeze", factor, at.ints(*range(wanted, axes)))
    return at.op("Add", at.op("Mul", factor, x), y)


@emits(Parameter)
def parameter(layer: Parameter, at: Scope) -> Value:
    return at.parameter("0")
