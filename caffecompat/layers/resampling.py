"""Resampling to a given size: Resize of caffe-windows, Resample of FlowNet2.

Both weigh rows and columns apart, so that a picture is multiplied by a matrix on each side.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.detection.rois import round_half_away
from caffecompat.errors import CaffeCompatWarning, SchemaError, UnsupportedError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import MAX_VALUES, Layer, Shape, layer
from caffecompat.layers.pooling import Pair
from caffecompat.schema import caffe_pb2

Param = caffe_pb2.ResampleParameter


def _apply(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pictures (N, C, H, W) weighed by (height, H) and (width, W)."""
    return rows.to(x) @ (x @ columns.to(x).t())


def _check_picture(layer: Layer, bottom: Shape) -> None:
    if len(bottom) != 4 or min(bottom[2:]) < 1:
        raise layer.error(f"expected a bottom of shape (N, C, H, W), got {bottom}")


@layer("Resize")
class Resize(Layer):
    """Bilinear, to `height` x `width`, or with `is_pyramid_test` by the two scales.

    Row y of the top lies at y * (bottom's height / top's height) of the bottom. Beyond the last row or column
    the original takes nothing for the missing neighbour, so that the border darkens; so does this.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = self._param = spec.message.resize_param
        wanted = ("out_height_scale", "out_width_scale") if param.is_pyramid_test else ("height", "width")
        missing = [name for name in wanted if not 0 < getattr(param, name) < MAX_VALUES]
        if missing:
            raise self.error(
                f"resize_param needs {' and '.join(wanted)} above 0",
                hint="is_pyramid_test: true asks for scales, otherwise a size is asked for",
                kind=SchemaError,
            )

    def _size(self, height: int, width: int) -> tuple[int, int]:
        param = self._param
        if param.is_pyramid_test:
            return int(param.out_height_scale * height), int(param.out_width_scale * width)
        return param.height, param.width

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        _check_picture(self, bottoms[0])
        size = self._size(*bottoms[0][2:])
        if min(size) < 1:
            raise self.error(f"a bottom of shape {bottoms[0]} would become {size[0]} x {size[1]}")
        return ((*bottoms[0][:2], *size),)

    def forward(self, bottom: Tensor) -> Tensor:
        source = (bottom.shape[2], bottom.shape[3])
        return _apply(bottom, *self.matrices(source, self._size(*source)))

    def matrices(self, source: Pair, target: Pair) -> tuple[Tensor, Tensor]:
        """The weights (height, H) of the rows and (width, W) of the columns, for these sizes of bottom and top."""
        rows, columns = (_bilinear(source[axis], target[axis]) for axis in (0, 1))
        return rows, columns


def _bilinear(source: int, target: int) -> Tensor:
    """(target, source) the weights of Resize on one axis, float32."""
    at = torch.arange(target, dtype=torch.float32) * (torch.tensor(source, dtype=torch.float32) / target)
    first = at.floor()
    part = at - first
    weights = torch.zeros(target, source + 1)
    index = first.long().clamp(max=source - 1)[:, None]
    weights.scatter_(1, index, (1 - part)[:, None])
    weights.scatter_(1, index + 1, part[:, None])
    return weights[:, :source]


@layer("Resample")
class Resample(Layer):
    """FlowNet2's: NEAREST, LINEAR or CUBIC, to `height` x `width` or the size of a second bottom.

    With `antialias` (the default) the filter widens where the picture shrinks. The original's CUDA code is the
    rule, its slips included: the place of a column is moved by half the *rows'* factor and the reverse, which
    matters where the two factors differ. There it has no gradient; here it has.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = self._param = spec.message.resample_param
        if param.type == Param.AREA:
            raise self.error(
                "type AREA is not done, nor is it in FlowNet2",
                hint="LINEAR with antialias: true",
                kind=UnsupportedError,
            )
        if len(bottoms) == 1 and min(param.height, param.width) < 1:
            raise self.error(
                "resample_param needs height and width", hint="or a second bottom of the size", kind=SchemaError
            )
        if param.factor != 1:
            warnings.warn(
                str(self.error("factor is ignored, as FlowNet2 ignores it")), CaffeCompatWarning, stacklevel=2
            )

    def _size(self, *bottoms: Shape) -> tuple[int, int]:
        if len(bottoms) == 1:
            return self._param.height, self._param.width
        return bottoms[1][2], bottoms[1][3]

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        for bottom in bottoms:
            _check_picture(self, bottom)
        return ((*bottoms[0][:2], *self._size(*bottoms)),)

    def forward(self, bottom: Tensor, reference: Tensor | None = None) -> Tensor:
        size = self._size(*(tuple(blob.shape) for blob in (bottom, reference) if blob is not None))
        source = (bottom.shape[2], bottom.shape[3])
        if self._param.type == Param.NEAREST:
            rows, columns = (place.to(bottom.device) for place in self._nearest(source, size))
            return bottom.index_select(2, rows).index_select(3, columns)
        return _apply(bottom, *self.matrices(source, size))

    def matrices(self, source: Pair, target: Pair) -> tuple[Tensor, Tensor]:
        """The weights (height, H) of the rows and (width, W) of the columns, for these sizes of bottom and top."""
        if self._param.type == Param.NEAREST:
            rows, columns = (
                functional.one_hot(place, source[axis]).float()
                for axis, place in enumerate(self._nearest(source, target))
            )
            return rows, columns
        factors, places = _places(source, target)
        widen = self._param.antialias and bool(max(factors) > 1)
        rows, columns = (self._weights(places[axis], source[axis], factors[axis], widen) for axis in (0, 1))
        return rows, columns

    def _nearest(self, source: Pair, target: Pair) -> tuple[Tensor, Tensor]:
        """The row and the column that is taken for each of the top; int64."""
        # The original reads beside the picture where the factors differ enough.
        rows, columns = (
            round_half_away(place).clamp(0, source[axis] - 1).long()
            for axis, place in enumerate(_places(source, target)[1])
        )
        return rows, columns

    def _weights(self, places: Tensor, source: int, factor: Tensor, widen: bool) -> Tensor:
        """(target, source) the weights of one axis, float32; they add up to 1, or all are 0."""
        cubic = self._param.type == Param.CUBIC
        narrow = 1 / factor if widen else torch.ones_like(factor)
        reach = 2 if factor < 1 else math.ceil((4 if cubic else 2) / narrow)
        distance = places[:, None] - torch.arange(source, dtype=torch.float32)
        near = (torch.arange(source) - round_half_away(places)[:, None]).abs() <= reach
        weights = (_cubic if cubic else _triangle)(distance * narrow) * near
        total = weights.sum(1, keepdim=True)
        return torch.where(total != 0, weights / total, 0.0)


def _places(source: Pair, target: Pair) -> tuple[list[Tensor], list[Tensor]]:
    """By how much rows and columns shrink, and where those of the top lie in the bottom."""
    factors = [torch.tensor(source[axis], dtype=torch.float32) / target[axis] for axis in (0, 1)]
    places = [
        torch.arange(target[axis], dtype=torch.float32) * factors[axis] + factors[1 - axis] / 2 - 0.5 for axis in (0, 1)
    ]
    return factors, places


def _triangle(distance: Tensor) -> Tensor:
    return (1 - distance.abs()).clamp(min=0)


def _cubic(distance: Tensor) -> Tensor:
    """Keys' cubic with a = -1/2."""
    x = distance.abs()
    inner = x * x * (1.5 * x - 2.5) + 1
    outer = x * (x * (-0.5 * x + 2.5) - 4) + 2
    return torch.where(x <= 1, inner, torch.where(x < 2, outer, 0.0))
