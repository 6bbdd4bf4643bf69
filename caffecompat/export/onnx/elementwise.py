"""Eltwise, Reduction, ArgMax and Softmax."""

from __future__ import annotations

from math import prod

from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import INT64, Value
from caffecompat.layers.elementwise import ArgMax, Eltwise, Operation, Reducer, Reduction
from caffecompat.layers.softmax import Softmax

_INT64_MIN = -(2**63)


@emits(Softmax, precision=Precision.SINGLE)
def softmax(layer: Softmax, at: Scope) -> Value:
    return at.op("Softmax", at.bottoms[0], axis=layer.axis(layer.spec.message.softmax_param.axis, len(at.shapes[0])))


@emits(Eltwise)
def eltwise(layer: Eltwise, at: Scope) -> Value:
    param = layer.spec.message.eltwise_param
    if param.operation == Operation.SUM:
        coeffs = list(param.coeff) or [1.0] * len(at.bottoms)
        terms = [x if c == 1 else at.op("Mul", x, c) for x, c in zip(at.bottoms, coeffs, strict=True)]
    else:
        terms = list(at.bottoms)
    if param.operation == Operation.MAX:
        return at.op("Max", *terms)
    result = terms[0]
    for term in terms[1:]:
        result = at.op("Mul" if param.operation == Operation.PROD else "Add", result, term)
    return result


@emits(Reduction, precision=Precision.SINGLE)
def reduction(layer: Reduction, at: Scope) -> Value:
    param = layer.spec.message.reduction_param
    (x,) = at.bottoms
    dims = len(at.shapes[0])
    axes = list(range(layer.axis(param.axis, dims), dims))
    if param.operation == Reducer.ASUM:
        x = at.op("Abs", x)
    elif param.operation == Reducer.SUMSQ:
        x = at.op("Mul", x, x)
    result = at.reduce("ReduceMean" if param.operation == Reducer.MEAN else "ReduceSum", x, axes, keep=False)
    return result if param.coeff == 1 else at.op("Mul", result, param.coeff)


@emits(ArgMax, precision=Precision.SINGLE)
def argmax(layer: ArgMax, at: Scope) -> Value:
    """Of equal values the higher place comes first, so that the axis is turned round."""
    param = layer.spec.message.argmax_param
    (x,) = at.bottoms
    dims = len(at.shapes[0])
    if param.HasField("axis"):
        places, values = _best(at, x, layer.axis(param.axis, dims), param.top_k)
        return values if param.out_max_val else places
    flat = at.op("Flatten", x, axis=1)
    rest = at.shapes[0][1:]
    flat = Value(flat.name, flat.dtype, (None, None if None in rest else prod(size or 0 for size in rest)))
    places, values = _best(at, flat, 1, param.top_k)
    rows = [places, values] if param.out_max_val else [places]
    top = at.op("Concat", *(at.unsqueeze(row, 1) for row in rows), axis=1)
    return at.unsqueeze(top, *range(3, dims)) if dims > 3 else top


def _best(at: Scope, x: Value, axis: int, count: int) -> tuple[Value, Value]:
    """Places (as floats) and values of the best along an axis."""
    if count == 1:
        place = at.op("ArgMax", x, axis=axis, keepdims=1, select_last_index=1, dtype=INT64)
        return at.cast(place, at.dtype), at.reduce("ReduceMax", x, [axis])
    turned = at.slice(x, axis, -1, _INT64_MIN, -1)
    values, places = at.ops("TopK", 2, turned, at.ints(count), axis=axis)
    last = at.size(x, axis) - 1
    return at.cast(at.op("Sub", at.sized(last), Value(places.name, INT64)), at.dtype), values
