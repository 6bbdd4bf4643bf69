"""Layers that work on each value by itself."""

from __future__ import annotations

from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import BOOL, Value
from caffecompat.layers.fork_neurons import HardSwish, Mish, ReLU6, Sign
from caffecompat.layers.neurons import (
    BNLL,
    ELU,
    AbsVal,
    Clip,
    Dropout,
    Exp,
    Log,
    Power,
    ReLU,
    Sigmoid,
    Swish,
    TanH,
    Threshold,
)
from caffecompat.layers.scale import PReLU


@emits(ReLU)
def relu(layer: ReLU, at: Scope) -> Value:
    return _leaky(at, at.bottoms[0], layer.negative_slope)


def _leaky(at: Scope, x: Value, slope: float) -> Value:
    return at.op("LeakyRelu", x, alpha=slope) if slope else at.op("Relu", x)


@emits(ReLU6)
def relu6(layer: ReLU6, at: Scope) -> Value:
    if layer.negative_slope:
        return at.op("Min", _leaky(at, at.bottoms[0], layer.negative_slope), 6.0)
    return at.op("Clip", at.bottoms[0], 0.0, 6.0)


@emits(PReLU)
def prelu(layer: PReLU, at: Scope) -> Value:
    (x,) = at.bottoms
    behind = (1,) * (len(at.shapes[0]) - 2)
    return at.op(
        "PRelu", x, at.parameter("weight") if layer.shared else at.parameter("weight", layer.channels, *behind)
    )


@emits(ELU)
def elu(layer: ELU, at: Scope) -> Value:
    return at.op("Elu", at.bottoms[0], alpha=layer.alpha)


@emits(Sigmoid)
def sigmoid(layer: Sigmoid, at: Scope) -> Value:
    return at.op("Sigmoid", at.bottoms[0])


@emits(TanH)
def tanh(layer: TanH, at: Scope) -> Value:
    return at.op("Tanh", at.bottoms[0])


@emits(AbsVal)
def absval(layer: AbsVal, at: Scope) -> Value:
    return at.op("Abs", at.bottoms[0])


@emits(Sign)
def sign(layer: Sign, at: Scope) -> Value:
    return at.op("Sign", at.bottoms[0])


@emits(BNLL, precision=Precision.SINGLE)
def bnll(layer: BNLL, at: Scope) -> Value:
    return at.op("Softplus", at.bottoms[0])


@emits(Mish, precision=Precision.SINGLE)
def mish(layer: Mish, at: Scope) -> Value:
    (x,) = at.bottoms
    return at.op("Mul", x, at.op("Tanh", at.op("Softplus", x)))


@emits(HardSwish)
def hardswish(layer: HardSwish, at: Scope) -> Value:
    return at.op("HardSwish", at.bottoms[0])


@emits(Swish)
def swish(layer: Swish, at: Scope) -> Value:
    (x,) = at.bottoms
    return at.op("Mul", x, at.op("Sigmoid", x if layer.beta == 1 else at.op("Mul", x, layer.beta)))


def _scaled(at: Scope, x: Value, scale: float, shift: float) -> Value:
    if scale != 1:
        x = at.op("Mul", x, scale)
    return x if shift == 0 else at.op("Add", x, shift)


@emits(Power, precision=Precision.SINGLE)
def power(layer: Power, at: Scope) -> Value:
    x = _scaled(at, at.bottoms[0], layer.scale, layer.shift)
    return x if layer.power == 1 else at.op("Pow", x, layer.power)


@emits(Exp, precision=Precision.SINGLE)
def exp(layer: Exp, at: Scope) -> Value:
    return at.op("Exp", _scaled(at, at.bottoms[0], layer.scale, layer.shift))


@emits(Log, precision=Precision.SINGLE)
def log(layer: Log, at: Scope) -> Value:
    x = at.op("Log", _scaled(at, at.bottoms[0], layer.scale, layer.shift))
    return x if layer.log_base == 1 else at.op("Div", x, layer.log_base)


@emits(Threshold)
def threshold(layer: Threshold, at: Scope) -> Value:
    return at.cast(at.op("Greater", at.bottoms[0], layer.threshold, dtype=BOOL), at.dtype)


@emits(Dropout, precision=Precision.KEPT)
def dropout(layer: Dropout, at: Scope) -> Value:
    return at.bottoms[0]


@emits(Clip)
def clip(layer: Clip, at: Scope) -> Value:
    """Caffe: everything becomes `min` where it is above `max`."""
    return at.op("Clip", at.bottoms[0], layer.least, layer.greatest if layer.least <= layer.greatest else layer.least)
