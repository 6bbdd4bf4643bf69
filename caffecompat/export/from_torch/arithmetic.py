"""Sums, products and powers, with one operand spread over the other as PyTorch spreads it; reductions."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from caffecompat.export.from_torch.convolving import summed
from caffecompat.export.from_torch.pooling import AVE, MAX, pooled_whole
from caffecompat.export.from_torch.registry import converts
from caffecompat.export.from_torch.scope import Scope
from caffecompat.export.from_torch.values import Blob, Constant
from caffecompat.graph.spec import Shape
from caffecompat.schema import caffe_pb2

PROD, GREATEST = caffe_pb2.EltwiseParameter.PROD, caffe_pb2.EltwiseParameter.MAX
Operand = Blob | Constant | float
MEAN, SUM = caffe_pb2.ReductionParameter.MEAN, caffe_pb2.ReductionParameter.SUM


@converts("add", "sub", "rsub")
def _add(scope: Scope) -> Blob:
    left, right = scope.arg("self"), scope.arg("other")
    if scope.operation == "rsub":
        left, right = right, left
    factor = float(scope.arg("alpha")) * (1.0 if scope.operation == "add" else -1.0)
    if isinstance(left, Blob) and isinstance(right, Blob):
        if left.shape == right.shape:
            coeff = {} if factor == 1 else {"coeff": [1.0, factor]}
            return scope.layer("Eltwise", left, right, **coeff)
        return _joined(scope, left, _times(scope, right, factor), "Bias")
    if isinstance(left, Blob):
        return _plus(scope, left, _scaled(right, factor))
    assert isinstance(right, Blob)
    if not isinstance(left, Constant):
        return scope.layer("Power", right, scale=factor, shift=float(left))
    return _plus(scope, _times(scope, right, factor), left)


def _scaled(operand: Constant | float, factor: float) -> Constant | float:
    if not isinstance(operand, Constant):
        return operand * factor
    return operand if factor == 1 else Constant(operand.tensor * factor)


def _times(scope: Scope, x: Blob, factor: float) -> Blob:
    return x if factor == 1 else scope.layer("Power", x, part="factor", scale=factor)


def _plus(scope: Scope, x: Blob, other: Constant | float) -> Blob:
    number = _number(other)
    return _met(scope, x, other, "Bias") if number is None else scope.layer("Power", x, shift=number)


def _number(operand: Operand) -> float | None:
    """The number that an operand is, if it is one."""
    if isinstance(operand, Constant):
        return float(operand.tensor) if operand.tensor.numel() == 1 else None
    return None if isinstance(operand, Blob) else float(operand)


@converts("mul")
def _multiply(scope: Scope) -> Blob:
    left, right = scope.arg("self"), scope.arg("other")
    if not isinstance(left, Blob):
        left, right = right, left
    if isinstance(right, Blob):
        if left.shape == right.shape:
            return scope.layer("Eltwise", left, right, operation=PROD)
        return _joined(scope, left, right, "Scale")
    number = _number(right)
    return _met(scope, left, right, "Scale") if number is None else scope.layer("Power", left, scale=number)


@converts("div")
def _divide(scope: Scope) -> Blob:
    left, right = scope.arg("self"), scope.arg("other")
    if not isinstance(right, Blob):
        number = _number(right)
        if number is not None:
            return scope.layer("Power", left, scale=1 / number)
        return _met(scope, left, Constant(1 / right.tensor), "Scale")
    number = _number(left)
    if number is not None and not isinstance(left, Blob):
        top = scope.layer("Power", right, part="inverse", power=-1)
        return scope.layer("Power", top, scale=number)
    inverse = scope.layer("Power", right, part="inverse", power=-1)
    if isinstance(left, Constant):
        return _met(scope, inverse, left, "Scale")
    if left.shape == right.shape:
        return scope.layer("Eltwise", left, inverse, operation=PROD)
    return _joined(scope, left, inverse, "Scale")


def _met(scope: Scope, x: Blob, other: Constant | float, type_: str) -> Blob:
    """`x` times or plus a fixed tensor."""
    assert isinstance(other, Constant)
    x = spread(scope, x, scope.shape)
    shape = [1] * (len(x.shape) - other.tensor.dim()) + list(other.tensor.shape)
    met = [axis for axis, size in enumerate(shape) if size != 1]
    first, end = met[0], met[-1] + 1
    values = other.tensor.reshape(shape).expand(
        [size if first <= axis < end else 1 for axis, size in enumerate(x.shape)]
    )
    constant = Constant(values.contiguous(), other.source if values.numel() == other.tensor.numel() else None)
    return scope.layer(
        type_, x, blobs=[constant], fixed=other.source is None, axis=first, num_axes=end - first, in_place=True
    )


def _joined(scope: Scope, left: Blob, right: Blob, type_: str) -> Blob:
    """The product (Scale) or sum (Bias) of two blobs of different shapes."""
    whole, part = (left, right) if left.shape == scope.shape else (right, left)
    part = scope.reshaped(part, (1,) * (len(scope.shape) - len(part.shape)) + part.shape, "axes")
    whole = spread(scope, whole, scope.shape)
    met = [axis for axis, size in enumerate(part.shape) if size != 1] or [0]
    first, end = (0 if part.shape[0] == whole.shape[0] else met[0]), met[-1] + 1
    if part.shape[first:end] == whole.shape[first:end]:
        part = scope.reshaped(part, part.shape[first:end], "axes")
        return scope.layer(type_, whole, part, in_place=False, axis=first)
    operation = {"operation": PROD} if type_ == "Scale" else {}
    return scope.layer("Eltwise", whole, spread(scope, part, scope.shape), **operation)


def spread(scope: Scope, x: Blob, shape: Shape) -> Blob:
    """`x` repeated along its axes of size 1, to another shape."""
    if len(x.shape) < len(shape):
        x = scope.reshaped(x, (1,) * (len(shape) - len(x.shape)) + x.shape, "axes")
    for axis, size in enumerate(shape):
        if x.shape[axis] != size:
            x = scope.layer("Tile", x, part="tile", axis=axis, tiles=size // x.shape[axis])
    return x


@converts("expand")
def _expand(scope: Scope) -> Blob:
    return spread(scope, scope.blob(), scope.shape)


@converts("repeat")
def _repeat(scope: Scope) -> Blob:
    return spread(scope, scope.blob(), scope.shape)


@converts("maximum", "minimum")
def _extreme(scope: Scope) -> Blob:
    operands = []
    for name in ("self", "other"):
        x = spread(scope, scope.blob(name), scope.shape)
        operands.append(x if scope.operation == "maximum" else scope.layer("Power", x, part="negative", scale=-1))
    if scope.operation == "maximum":
        return scope.layer("Eltwise", *operands, operation=GREATEST)
    return scope.layer("Power", scope.layer("Eltwise", *operands, part="max", operation=GREATEST), scale=-1)


def _powers(**params: float) -> Callable[[Scope], Blob]:
    return lambda scope: scope.layer("Power", scope.blob(), **params)


for _operation, _params in {
    "neg": {"scale": -1.0},
    "sqrt": {"power": 0.5},
    "rsqrt": {"power": -0.5},
    "square": {"power": 2.0},
    "reciprocal": {"power": -1.0},
}.items():
    converts(_operation)(_powers(**_params))


@converts("pow")
def _power(scope: Scope) -> Blob:
    exponent = scope.arg("exponent")
    if not isinstance(exponent, (int, float)):
        raise scope.error("the exponent has to be a number")
    return scope.layer("Power", scope.blob(), power=float(exponent))


@converts("exp")
def _exponential(scope: Scope) -> Blob:
    return scope.layer("Exp", scope.blob())


@converts("log")
def _logarithm(scope: Scope) -> Blob:
    return scope.layer("Log", scope.blob())


@converts("abs")
def _absolute(scope: Scope) -> Blob:
    return scope.layer("AbsVal", scope.blob())


@converts("mean", "sum")
def _reduce(scope: Scope) -> Blob:
    return _reduced(scope, scope.blob(), mean=scope.operation == "mean")


@converts("amax")
def _greatest(scope: Scope) -> Blob:
    x = scope.blob()
    if sorted(axis % len(x.shape) for axis in scope.arg("dim")) != [2, 3]:
        raise scope.error("the greatest value can be taken over height and width only")
    return scope.reshaped(pooled_whole(scope, x, MAX), scope.shape)


@converts("linalg_vector_norm")
def _norm(scope: Scope) -> Blob:
    if scope.arg("ord") != 2:
        raise scope.error("only the norm of order 2 can be said")
    squares = scope.layer("Power", scope.blob(), part="squares", power=2)
    return scope.layer("Power", _reduced(scope, squares, mean=False, part="sum"), power=0.5)


def _reduced(scope: Scope, x: Blob, *, mean: bool, part: str = "") -> Blob:
    """The mean or sum over the axes `dim` of the operation."""
    names = [argument.name for argument in scope.node.target._schema.arguments]  # type: ignore[union-attr]
    dims = scope.arg("dim") if "dim" in names else None
    axes = sorted(axis % len(x.shape) for axis in (dims or range(len(x.shape))))
    count = prod(x.shape[axis] for axis in axes)
    if axes == [2, 3] and len(x.shape) == 4:
        top = pooled_whole(scope, x, AVE)
        top = top if mean else scope.layer("Power", top, part="area", scale=count)
    elif axes == list(range(axes[0], len(x.shape))):
        top = scope.layer("Reduction", x, part=part, axis=axes[0], operation=MEAN if mean else SUM)
    elif axes == [1]:
        top = summed(scope, x, 1 / count if mean else 1.0, part)
    else:
        raise scope.error(f"Caffe reduces the channels, or the last axes; asked for are {axes} of {x.shape}")
    return scope.reshaped(top, scope.shape)
