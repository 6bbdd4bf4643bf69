"""Layers of FlowNet2: FlowWarp and Correlation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.errors import CaffeCompatWarning, SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import MAX_VALUES, Layer, Shape, layer
from caffecompat.layers.labels import precise, with_gradient_of
from caffecompat.schema import caffe_pb2


@layer("FlowWarp")
class FlowWarp(Layer):
    """The picture (N, C, H, W) read at x + flow, bilinear; flow (N, 2, H, W) holds (dx, dy) in pixels.

    A place outside 0 <= x < W, 0 <= y < H becomes `fill_value`: 0 or nan. Behind the last row or column that row
    or column itself is the neighbour.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        zero = spec.message.flow_warp_param.fill_value == caffe_pb2.FlowWarpParameter.ZERO
        self._fill = 0.0 if zero else float("nan")

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        picture, flow = bottoms
        if len(picture) != 4 or flow != (picture[0], 2, *picture[2:]):
            raise self.error(f"expected a picture (N, C, H, W) and a flow (N, 2, H, W), got {picture} and {flow}")
        return (picture,)

    def forward(self, picture: Tensor, flow: Tensor) -> Tensor:
        height, width = picture.shape[2:]
        flow = precise(flow)
        x = torch.arange(width, dtype=flow.dtype, device=flow.device) + flow[:, 0]
        y = torch.arange(height, dtype=flow.dtype, device=flow.device)[:, None] + flow[:, 1]
        inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
        x, y = x.masked_fill(~inside, 0.0), y.masked_fill(~inside, 0.0)
        left, top = x.detach().floor(), y.detach().floor()
        part_x, part_y = (x - left)[:, None], (y - top)[:, None]
        planes = picture.flatten(2)

        def corner(rows: Tensor, columns: Tensor) -> Tensor:
            index = rows.clamp(max=height - 1).long() * width + columns.clamp(max=width - 1).long()
            index = index.flatten(1)[:, None].expand(-1, picture.shape[1], -1)
            return planes.gather(2, index).view(picture.shape)

        above = (1 - part_x) * corner(top, left) + part_x * corner(top, left + 1)
        below = (1 - part_x) * corner(top + 1, left) + part_x * corner(top + 1, left + 1)
        warped = (1 - part_y) * above + part_y * below
        return torch.where(inside[:, None], warped, self._fill).to(picture.dtype)


@layer("Correlation")
class Correlation(Layer):
    """How well the patches of one blob (N, C, H, W) fit those of another, at each displacement.

    Both are padded by `pad`. A patch of `kernel_size` stands every `stride_1` where all displacements fit; the
    displacements are multiples of `stride_2` up to `max_displacement`, rows first. The top, (N, displacements, H', W'),
    is the mean of the products, or with SUBTRACT of the absolute differences. `do_abs` changes nothing, as in the
    original. So too SUBTRACT's gradient: there the sign is that of the difference of both blobs at the *displaced*
    place, in both of them.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.correlation_param
        if not param.HasField("kernel_size") or not param.HasField("max_displacement"):
            raise self.error("correlation_param needs kernel_size and max_displacement", kind=SchemaError)
        if param.kernel_size % 2 == 0 or min(param.stride_1, param.stride_2) < 1:
            raise self.error(
                f"expected an odd kernel_size and strides of at least 1, got {param.kernel_size}, {param.stride_1} "
                f"and {param.stride_2}",
                kind=SchemaError,
            )
        if param.do_abs:
            warnings.warn(
                str(self.error("do_abs is ignored, as FlowNet2 ignores it")), CaffeCompatWarning, stacklevel=2
            )
        self._pad, self._kernel, self._reach = param.pad, param.kernel_size, param.max_displacement
        self._stride, self._step = param.stride_1, param.stride_2
        self._radius = self._reach // self._step
        self._subtract = param.correlation_type == caffe_pb2.CorrelationParameter.SUBTRACT

    def _places(self, size: int) -> int:
        """How many places a patch takes on an axis; below 1 if it fits nowhere."""
        return -(-(size + 2 * self._pad - 2 * self._reach - self._kernel + 1) // self._stride)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        first, second = bottoms
        if len(first) != 4 or first != second:
            raise self.error(f"expected two bottoms of one shape (N, C, H, W), got {first} and {second}")
        padded = (*first[:2], *(size + 2 * self._pad for size in first[2:]))
        if prod(padded) > MAX_VALUES:
            raise self.error(f"padded bottoms would have shape {padded}; at most {MAX_VALUES} values are possible")
        places = (self._places(first[2]), self._places(first[3]))
        if min(places) < 1:
            raise self.error(
                f"kernel_size {self._kernel} and max_displacement {self._reach} do not fit in bottoms of shape {first}",
                hint="a pad as large as max_displacement keeps the size",
            )
        return ((first[0], (2 * self._radius + 1) ** 2, *places),)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        shape = tuple(first.shape)
        _, _, height, width = self.shapes(shape, tuple(second.shape))[0]
        first, second = (functional.pad(blob, [self._pad] * 4) for blob in (first, second))
        if not self._subtract:
            return self._correlate(first, second, height, width)
        with torch.no_grad():
            top = self._correlate(first, second, height, width, absolute=True)
        if not torch.is_grad_enabled() or not (first.requires_grad or second.requires_grad):
            return top
        sign = torch.where(first >= second, 1.0, -1.0).to(first.dtype)
        source = self._correlate(first, sign, height, width) + self._correlate(-sign, second, height, width)
        return with_gradient_of(source, top)

    def _correlate(self, first: Tensor, second: Tensor, height: int, width: int, *, absolute: bool = False) -> Tensor:
        """The top for padded blobs.

        For a row of displacements and of the patch, every column of one row meets every column of another in one
        matrix product; the pairs that belong together are picked from it.
        """
        span = (width - 1) * self._stride + self._kernel
        first = first.narrow(3, self._reach, span)
        offsets = torch.arange(-self._radius, self._radius + 1, device=first.device) * self._step
        kernel = torch.arange(self._kernel, device=first.device)
        column = torch.arange(width, device=first.device) * self._stride
        # (D, width, kernel): where in the product stands the pair of a column and its displaced one.
        own = column[:, None] + kernel
        pairs = own * second.shape[3] + own + self._reach + offsets[:, None, None]
        tops = []
        for row_offset in offsets.tolist():
            total: Tensor | None = None
            for row in range(self._kernel):
                begin = self._reach + row
                a, b = (
                    blob[:, :, start : start + (height - 1) * self._stride + 1 : self._stride].permute(0, 2, 3, 1)
                    for blob, start in ((first, begin), (second, begin + row_offset))
                )
                product = torch.cdist(a, b, p=1.0) if absolute else a @ b.transpose(2, 3)
                found = product.flatten(2)[:, :, pairs].sum(4)
                total = found if total is None else total + found
            assert total is not None
            tops.append(total.transpose(1, 2))
        return torch.cat(tops, 1) / (self._kernel**2 * first.shape[1])
