"""Activations: each value by itself; and softmax."""

from __future__ import annotations

import math

from caffecompat.errors import CaffeCompatError
from caffecompat.export.from_torch.registry import converts
from caffecompat.export.from_torch.scope import Scope
from caffecompat.export.from_torch.values import Blob
from caffecompat.schema import caffe_pb2

PROD = caffe_pb2.EltwiseParameter.PROD
_LARGEST = 3.4e38


@converts("relu")
def _relu(scope: Scope) -> Blob:
    return scope.layer("ReLU", scope.blob())


@converts("leaky_relu")
def _leaky_relu(scope: Scope) -> Blob:
    return scope.layer("ReLU", scope.blob(), negative_slope=float(scope.arg("negative_slope")))


@converts("prelu", "_prelu_kernel")
def _prelu(scope: Scope) -> Blob:
    weight = scope.constant("weight")
    assert weight is not None
    shared = weight.tensor.numel() == 1 and scope.blob().shape[1] != 1
    return scope.layer("PReLU", scope.blob(), blobs=[weight], **({"channel_shared": True} if shared else {}))


@converts("elu")
def _elu(scope: Scope) -> Blob:
    if scope.arg("scale") != 1 or scope.arg("input_scale") != 1:
        raise scope.error("Caffe's ELU has no scale")
    return scope.layer("ELU", scope.blob(), alpha=float(scope.arg("alpha")))


@converts("selu")
def _selu(scope: Scope) -> Blob:
    top = scope.layer("ELU", scope.blob(), part="elu", alpha=1.6732632423543772)
    return scope.layer("Power", top, scale=1.0507009873554805)


@converts("sigmoid")
def _sigmoid(scope: Scope) -> Blob:
    return scope.layer("Sigmoid", scope.blob())


@converts("tanh")
def _tanh(scope: Scope) -> Blob:
    return scope.layer("TanH", scope.blob())


@converts("silu")
def _silu(scope: Scope) -> Blob:
    return scope.layer("Swish", scope.blob())


@converts("softplus")
def _softplus(scope: Scope) -> Blob:
    if scope.arg("beta") != 1:
        raise scope.error("Caffe's BNLL is a softplus of beta 1")
    return scope.layer("BNLL", scope.blob())


@converts("log_sigmoid")
def _log_sigmoid(scope: Scope) -> Blob:
    top = scope.layer("Power", scope.blob(), part="negative", scale=-1)
    return scope.layer("Power", scope.layer("BNLL", top, part="bnll"), scale=-1)


@converts("hardtanh")
def _hardtanh(scope: Scope) -> Blob:
    return clipped(scope, scope.blob(), scope.arg("min_val"), scope.arg("max_val"))


@converts("relu6")
def _relu6(scope: Scope) -> Blob:
    return clipped(scope, scope.blob(), 0, 6)


@converts("clamp", "clamp_min", "clamp_max")
def _clamp(scope: Scope) -> Blob:
    least = scope.arg("min") if scope.operation != "clamp_max" else None
    most = scope.arg("max") if scope.operation != "clamp_min" else None
    if any(not isinstance(bound, (int, float)) for bound in (least, most) if bound is not None):
        raise scope.error("its bounds have to be numbers")
    return clipped(scope, scope.blob(), least, most)


def clipped(scope: Scope, x: Blob, least: float | None, most: float | None, part: str = "") -> Blob:
    """Each value, or the bound that it is beyond."""
    if least == 0 and most is None:
        return scope.layer("ReLU", x, part=part)
    low, high = -_LARGEST if least is None else least, _LARGEST if most is None else most
    return scope.layer("Clip", x, part=part, min=max(low, -_LARGEST), max=min(high, _LARGEST))


@converts("hardsigmoid")
def _hardsigmoid(scope: Scope) -> Blob:
    return _hard_sigmoid(scope)


def _hard_sigmoid(scope: Scope, part: str = "") -> Blob:
    top = scope.layer("Power", scope.blob(), part="shift", scale=1 / 6, shift=0.5)
    return clipped(scope, top, 0, 1, part)


@converts("hardswish")
def _hardswish(scope: Scope) -> Blob:
    return scope.layer("Eltwise", scope.blob(), _hard_sigmoid(scope, "gate"), operation=PROD)


@converts("mish")
def _mish(scope: Scope) -> Blob:
    top = scope.layer("BNLL", scope.blob(), part="bnll")
    return scope.layer("Eltwise", scope.blob(), scope.layer("TanH", top, part="tanh"), operation=PROD)


@converts("gelu")
def _gelu(scope: Scope) -> Blob:
    if scope.arg("approximate") != "tanh":
        raise _no_erf(scope)
    x = scope.blob()
    cube = scope.layer("Power", x, part="cube", power=3)
    root = math.sqrt(2 / math.pi)
    inner = scope.layer("Eltwise", x, cube, part="inner", coeff=[root, root * 0.044715])
    half = scope.layer("Power", scope.layer("TanH", inner, part="tanh"), part="gate", scale=0.5, shift=0.5)
    return scope.layer("Eltwise", x, half, operation=PROD)


def _no_erf(scope: Scope) -> CaffeCompatError:
    return scope.error("Caffe has no error function", hint="nn.GELU(approximate='tanh') can be converted")


@converts("softmax", "_softmax")
def _softmax(scope: Scope) -> Blob:
    return _softmax_layer(scope)


def _softmax_layer(scope: Scope, part: str = "") -> Blob:
    x, axis = scope.blob(), scope.arg("dim") % len(scope.shape)
    return scope.layer("Softmax", x, part=part, **({"axis": axis} if axis != 1 else {}))


@converts("log_softmax", "_log_softmax")
def _log_softmax(scope: Scope) -> Blob:
    return scope.layer("Log", _softmax_layer(scope, "softmax"))
