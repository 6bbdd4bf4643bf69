"""Axpy, ShuffleChannel and Padding: layers of forks that weigh, mix or frame channels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer


@layer("Axpy")
class Axpy(Layer):
    """a * x + y: a factor for each channel of each image, times x, plus y (SENet's order of bottoms: a, x, y)."""

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(N, C) or (N, C, 1, 1), (N, C, ...), (N, C, ...) -> (N, C, ...).

        Raises:
            ShapeError: x and y differ, or the factors are not one for each of their channels.
        """
        factor, x, y = bottoms
        if len(x) < 2 or factor[:2] != x[:2] or any(size != 1 for size in factor[2:]):
            raise self.error(f"expected factors of shape {(*x[:2], 1, 1)} for the second bottom {x}, got {factor}")
        if x != y:
            raise self.error(f"the second and third bottom must have the same shape, got {x} and {y}")
        return (x,)

    def forward(self, factor: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return factor.flatten(1).reshape(*x.shape[:2], *([1] * (x.dim() - 2))) * x + y


@layer("ShuffleChannel")
class ShuffleChannel(Layer):
    """Channels seen as (group, channels / group), transposed (ports of ShuffleNet)."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.group = spec.message.shuffle_channel_param.group
        if self.group < 1:
            raise self.error(f"group must be at least 1, got {self.group}", kind=SchemaError)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (bottom,) = bottoms
        if len(bottom) < 2 or bottom[1] % self.group:
            raise self.error(f"group {self.group} does not divide the channels of the bottom {bottom}")
        return (bottom,)

    def forward(self, x: Tensor) -> Tensor:
        grouped = x.reshape(x.shape[0], self.group, x.shape[1] // self.group, *x.shape[2:])
        return grouped.transpose(1, 2).flatten(1, 2)


@layer("Padding")
class Padding(Layer):
    """pad_value on the four sides of each image: pad_l, pad_r, pad_t and pad_b wide."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.padding_param
        self.sides = (param.pad_l, param.pad_r, param.pad_t, param.pad_b)
        self.value = param.pad_value

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(N, C, H, W) -> (N, C, pad_t + H + pad_b, pad_l + W + pad_r)."""
        (bottom,) = bottoms
        if len(bottom) != 4:
            raise self.error(f"expected a bottom of 4 axes (num, channels, height, width), got {bottom}")
        left, right, above, below = self.sides
        return ((*bottom[:2], above + bottom[2] + below, left + bottom[3] + right),)

    def forward(self, x: Tensor) -> Tensor:
        return functional.pad(x, self.sides, value=self.value)
