"""Layers that work on each value by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer


class Neuron(Layer):
    """A layer whose top has the bottom's shape."""

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        return bottoms[:1]


@layer("ReLU")
class ReLU(Neuron):
    """max(x, 0), and negative_slope * x below 0.

    Attributes:
        in_place: while it trains, overwrite the bottom: nothing else needs it.
    """

    in_place = False

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.negative_slope = spec.message.relu_param.negative_slope

    def forward(self, x: Tensor) -> Tensor:
        if self.negative_slope:
            return functional.leaky_relu(x, self.negative_slope)
        # What no layer made, or what is seen elsewhere too, is not ours to change.
        if self.in_place and x.grad_fn is not None and not x._is_view():
            return functional.relu_(x)
        return functional.relu(x)


@layer("ELU")
class ELU(Neuron):
    """x above 0, alpha * (exp(x) - 1) below."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.alpha = spec.message.elu_param.alpha

    def forward(self, x: Tensor) -> Tensor:
        return functional.elu(x, self.alpha)


@layer("Sigmoid")
class Sigmoid(Neuron):
    """1 / (1 + exp(-x)). BVLC's differs by rounding (6e-8) and is 0 below -38."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


@layer("TanH")
class TanH(Neuron):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x)


@layer("AbsVal")
class AbsVal(Neuron):
    """The absolute value."""

    def forward(self, x: Tensor) -> Tensor:
        return x.abs()


@layer("BNLL")
class BNLL(Neuron):
    """log(1 + exp(x))."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.softplus(x)


@layer("Power")
class Power(Neuron):
    """(shift + scale * x) ^ power. Caffe: a constant without gradient if scale or power is 0."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.power_param
        self.power, self.scale, self.shift = param.power, param.scale, param.shift

    def forward(self, x: Tensor) -> Tensor:
        if self.power * self.scale == 0:
            return torch.full_like(x, self.shift).pow(self.power)
        if self.scale != 1:
            x = x * self.scale
        if self.shift != 0:
            x = x + self.shift
        return x if self.power == 1 else x.pow(self.power)


def _log_of_base(spec: LayerSpec, base: float) -> float:
    """The natural logarithm of a base. Caffe: -1 means e."""
    if base == -1:
        return 1.0
    if not 0 < base < math.inf:
        raise spec.error(f"base must be above 0, or -1 for e, got {base:g}", kind=SchemaError)
    return math.log(base)


@layer("Exp")
class Exp(Neuron):
    """base ^ (shift + scale * x)."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.exp_param
        log_base = _log_of_base(spec, param.base)
        self.scale, self.shift = param.scale * log_base, param.shift * log_base

    def forward(self, x: Tensor) -> Tensor:
        if self.scale != 1:
            x = x * self.scale
        return (x if self.shift == 0 else x + self.shift).exp()


@layer("Log")
class Log(Neuron):
    """The logarithm of shift + scale * x to a base."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.log_param
        self.scale, self.shift = param.scale, param.shift
        self.log_base = _log_of_base(spec, param.base)
        if self.log_base == 0:
            raise self.error("base must not be 1", kind=SchemaError)

    def forward(self, x: Tensor) -> Tensor:
        if self.scale != 1:
            x = x * self.scale
        x = (x if self.shift == 0 else x + self.shift).log()
        return x if self.log_base == 1 else x / self.log_base


@layer("Threshold")
class Threshold(Neuron):
    """1 above the threshold, else 0; no gradient."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.threshold = spec.message.threshold_param.threshold

    def forward(self, x: Tensor) -> Tensor:
        return (x > self.threshold).to(x.dtype)


@layer("Dropout")
class Dropout(Neuron):
    """In training, each value is 0 with the probability dropout_ratio, and the others grow by 1 / (1 - ratio)."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.ratio = spec.message.dropout_param.dropout_ratio
        if not 0 <= self.ratio < 1:
            raise self.error(f"dropout_ratio must be from 0 to below 1, got {self.ratio:g}", kind=SchemaError)

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.ratio) if self.training else x


class _PassingAll(torch.autograd.Function):
    """`clipped`, with the gradient of `x` itself."""

    @staticmethod
    def forward(context: Any, x: Tensor, clipped: Tensor) -> Tensor:
        return clipped.view_as(clipped)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


@layer("Clip")
class Clip(Neuron):
    """max(min, min(x, max)): everything becomes min where min is above max, and nan becomes min.

    The gradient passes where min <= x <= max, the ends included. BVLC (the SSD branch has no Clip): backward looks
    at the bottom's values, which in place are the clipped ones, so there every gradient passes.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.clip_param
        missing = [name for name in ("min", "max") if not param.HasField(name)]
        if missing:
            raise self.error(f"clip_param.{missing[0]} is missing", kind=SchemaError)
        self.least, self.greatest = param.min, param.max
        self.in_place = spec.bottoms[0].name == spec.tops[0].name

    def forward(self, x: Tensor) -> Tensor:
        if self.least > self.greatest:
            return torch.full_like(x, self.least)
        clipped = torch.where(x >= self.least, x.clamp(max=self.greatest), self.least)
        if self.in_place and x.requires_grad and torch.is_grad_enabled():
            return cast(Tensor, _PassingAll.apply(x, clipped.detach()))  # type: ignore[no-untyped-call]
        return clipped


@layer("Swish")
class Swish(Neuron):
    """x * sigmoid(beta * x)."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.beta = spec.message.swish_param.beta

    def forward(self, x: Tensor) -> Tensor:
        return functional.silu(x) if self.beta == 1 else x * torch.sigmoid(x * self.beta)
