"""Neuron layers that only forks of Caffe have."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Shape, layer
from caffecompat.layers.neurons import Neuron


@layer("ReLU6")
class ReLU6(Neuron):
    """min(max(x, 0), 6), and negative_slope * x below 0 (ports of MobileNet)."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.negative_slope = spec.message.relu6_param.negative_slope

    def forward(self, x: Tensor) -> Tensor:
        if self.negative_slope:
            return functional.leaky_relu(x, self.negative_slope).clamp_max(6)
        return functional.relu6(x)


@layer("Mish")
class Mish(Neuron):
    """x * tanh(log(1 + exp(x))). The gradient is that of this function; a fork has it taken at the top's value."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.mish(x)


@layer("HardSwish")
class HardSwish(Neuron):
    """x * min(max(x + 3, 0), 6) / 6."""

    def forward(self, x: Tensor) -> Tensor:
        return functional.hardswish(x)


@layer("Sign")
class Sign(Neuron):
    """1 above 0, -1 below, 0 at 0; no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x)
