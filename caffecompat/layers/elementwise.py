"""Layers that compute value by value over several blobs, or over the values of one: Eltwise, Reduction, ArgMax."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.layers.labels import by_item
from caffecompat.schema import caffe_pb2

Operation = caffe_pb2.EltwiseParameter.EltwiseOp
Reducer = caffe_pb2.ReductionParameter.ReductionOp


@layer("Eltwise")
class Eltwise(Layer):
    """PROD, SUM (each bottom times its `coeff`) or MAX of blobs of one shape.

    Caffe: MAX gives the whole gradient to one bottom; of equal values, of the first two to the second, and
    to a later one only if it is greater. The gradient of PROD is the product of the others, whatever
    `stable_prod_grad` says: false means the same computed by a division, which is nan where a bottom is 0.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.eltwise_param
        self._operation = param.operation
        coeff = list(param.coeff)
        if coeff and len(coeff) != len(bottoms):
            raise self.error(f"coeff must be stated for each of the {len(bottoms)} bottoms or not at all, got {coeff}")
        if coeff and self._operation == Operation.PROD:
            raise self.error(f"coeff belongs to SUM, got operation PROD with coeff {coeff}")
        self._coeff = coeff or [1.0] * len(bottoms)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        for key, bottom in zip(self.spec.bottoms, bottoms, strict=True):
            if bottom != bottoms[0]:
                raise self.error(
                    f'all bottoms must have one shape: "{self.spec.bottoms[0].name}" has {bottoms[0]}, '
                    f'"{key.name}" has {bottom}'
                )
        return (bottoms[0],)

    def forward(self, *bottoms: Tensor) -> Tensor:
        if not torch.compiler.is_compiling():
            self.shapes(*(tuple(bottom.shape) for bottom in bottoms))
        result, *others = bottoms
        if self._operation == Operation.PROD:
            for other in others:
                result = result * other
        elif self._operation == Operation.MAX:
            second, *others = others
            result = torch.where(result > second, result, second)
            for other in others:
                result = torch.where(other > result, other, result)
        else:
            result = result if self._coeff[0] == 1 else result * self._coeff[0]
            for other, coeff in zip(others, self._coeff[1:], strict=True):
                result = torch.add(result, other, alpha=coeff)
        return result


@layer("Reduction")
class Reduction(Layer):
    """SUM, ASUM (of magnitudes), SUMSQ (of squares) or MEAN over `axis` and all axes after it, times `coeff`.

    bottom: any shape; top: the sizes before the axis.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.reduction_param
        self._operation, self._axis, self._coeff = param.operation, param.axis, param.coeff

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (bottom,) = bottoms
        return (bottom[: self.axis(self._axis, len(bottom))],)

    def forward(self, x: Tensor) -> Tensor:
        axes = list(range(self.axis(self._axis, x.ndim), x.ndim))
        if self._operation == Reducer.MEAN:
            result = x.mean(axes)
        elif self._operation == Reducer.ASUM:
            result = x.abs().sum(axes)
        elif self._operation == Reducer.SUMSQ:
            result = x.square().sum(axes)
        else:
            result = x.sum(axes)
        return result if self._coeff == 1 else result * self._coeff


@layer("ArgMax")
class ArgMax(Layer):
    """The places of the `top_k` greatest values, best first; of equal values the higher place first.

    With `axis`: along it, their places, or their values with `out_max_val`; top: that axis of size top_k.
    Without: over all values of an item; top (N, 1, top_k), or with `out_max_val` (N, 2, top_k), places and
    values; a bottom of more than three axes gives as many. Places are floats, as all of Caffe's blobs. No gradient.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.argmax_param
        self._top_k, self._values = param.top_k, param.out_max_val
        self._axis = param.axis if param.HasField("axis") else None

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (bottom,) = bottoms
        if self._axis is not None:
            axis = self.axis(self._axis, len(bottom))
            size, top = bottom[axis], (*bottom[:axis], self._top_k, *bottom[axis + 1 :])
        else:
            self.axis(0, len(bottom))
            size = prod(bottom[1:])
            top = (bottom[0], 2 if self._values else 1, self._top_k, *(1,) * (len(bottom) - 3))
        if not 1 <= self._top_k <= size:
            raise self.error(f"top_k must be within 1..{size} for shape {bottom}, got {self._top_k}")
        return (top,)

    def forward(self, x: Tensor) -> Tensor:
        x = x.detach()
        dtype = torch.promote_types(x.dtype, torch.float32)
        if self._axis is not None:
            places, values = self._best(x, self.axis(self._axis, x.ndim))
            return values if self._values else places.to(dtype)
        places, values = self._best(by_item(x), 1)
        rows = [places.to(dtype), values.to(dtype)] if self._values else [places.to(dtype)]
        top = torch.stack(rows, 1)
        return top.reshape([*top.shape, *[1] * (x.ndim - 3)])

    def _best(self, x: Tensor, axis: int) -> tuple[Tensor, Tensor]:
        """Places and values of the best along an axis; reversing makes the higher of equal places come first."""
        reversed_ = x.flip(axis)
        if self._top_k == 1:
            places = reversed_.argmax(axis, keepdim=True)
            values = reversed_.gather(axis, places)
        else:
            values, places = reversed_.sort(dim=axis, descending=True, stable=True)
            values, places = values.narrow(axis, 0, self._top_k), places.narrow(axis, 0, self._top_k)
        return x.shape[axis] - 1 - places, values
