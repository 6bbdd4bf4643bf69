"""Scale, Bias and PReLU: a learned factor, summand or slope, spread over a blob."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.schema import caffe_pb2


class ChannelWeight(Layer):
    """One learned weight for each channel of (N, C, ...), or one of no axes for all; the shape stays."""

    weight: Tensor

    def __init__(
        self, spec: LayerSpec, bottoms: Sequence[Shape], shared: bool, filler: caffe_pb2.FillerParameter | float
    ) -> None:
        super().__init__(spec, bottoms)
        if len(bottoms[0]) < 2:
            raise self.error(f"expected a bottom of at least 2 axes, got {bottoms[0]}")
        self.channels = bottoms[0][1]
        self.shared = shared
        self.declare("weight", () if shared else (self.channels,), filler)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (bottom,) = bottoms
        if len(bottom) < 2 or (not self.shared and bottom[1] != self.channels):
            raise self.error(f"expected {self.channels} channels on axis 1, got {bottom}")
        return (bottom,)


class _Spread(Layer):
    """A blob (learned, or a second bottom) that meets the axes of the bottom from `axis` on."""

    def _prepare(self, axis: int, num_axes: int, bottoms: Sequence[Shape]) -> Shape:
        """Find where the blob begins; its shape."""
        first = bottoms[0]
        self.first_axis = self.axis(axis, len(first))
        if len(bottoms) > 1:
            operand = bottoms[1]
        elif num_axes < -1:
            raise self.error(f"num_axes must be at least -1, got {num_axes}", kind=SchemaError)
        elif self.first_axis + num_axes > len(first):
            raise self.error(f"{num_axes} axes from axis {self.first_axis} on reach beyond the bottom {first}")
        else:
            operand = first[self.first_axis :] if num_axes == -1 else first[self.first_axis :][:num_axes]
        if not operand:
            self.first_axis = 0
        self.operand = operand
        return operand

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        operand = bottoms[1] if len(bottoms) > 1 else self.operand
        met = bottoms[0][self.first_axis :][: len(operand)]
        if met != operand:
            raise self.error(f"shape {operand} does not fit the bottom {bottoms[0]} from axis {self.first_axis} on")
        return bottoms[:1]

    def _spread(self, operand: Tensor, x: Tensor) -> Tensor:
        """The blob with axes of 1 behind it, so that it broadcasts over x."""
        behind = x.dim() - self.first_axis - operand.dim()
        return operand.reshape(*operand.shape, *([1] * behind)) if behind else operand


@layer("Scale")
class Scale(_Spread):
    """The bottom times a blob, plus another with bias_term. Blobs: weight (of the axes it meets), bias (alike).

    With two bottoms the second is the factor, and the bias is the only blob.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.scale_param
        operand = self._prepare(param.axis, param.num_axes, bottoms)
        if len(bottoms) == 1:
            self.declare("weight", operand, param.filler if param.HasField("filler") else 1.0)
        if param.bias_term:
            self.declare("bias", operand, param.bias_filler)
        else:
            self.bias = None

    def forward(self, x: Tensor, factor: Tensor | None = None) -> Tensor:
        factor = self._spread(self.weight if factor is None else factor, x)
        return x * factor if self.bias is None else torch.addcmul(self._spread(self.bias, x), x, factor)


@layer("Bias")
class Bias(_Spread):
    """The bottom plus a blob, or plus the second bottom. Blob: bias (of the axes it meets)."""

    bias: Tensor

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.bias_param
        operand = self._prepare(param.axis, param.num_axes, bottoms)
        if len(bottoms) == 1:
            self.declare("bias", operand, param.filler)

    def forward(self, x: Tensor, summand: Tensor | None = None) -> Tensor:
        return x + self._spread(self.bias if summand is None else summand, x)


@layer("PReLU")
class PReLU(ChannelWeight):
    """max(x, 0) + slope * min(x, 0). Blob: weight (channels), or of no axes with channel_shared."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        param = spec.message.prelu_param
        super().__init__(spec, bottoms, param.channel_shared, param.filler if param.HasField("filler") else 0.25)

    def forward(self, x: Tensor) -> Tensor:
        return functional.prelu(x, self.weight.to(x.dtype))
