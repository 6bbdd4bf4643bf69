"""Pooling and SPP."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.schema import caffe_pb2

MAX = caffe_pb2.PoolingParameter.MAX
AVE = caffe_pb2.PoolingParameter.AVE
STOCHASTIC = caffe_pb2.PoolingParameter.STOCHASTIC

Pair = tuple[int, int]


class Window(NamedTuple):
    """A pooling window: sizes as (rows, columns); `ceil` rounds the number of its places up."""

    kernel: Pair
    stride: Pair
    pad: Pair
    ceil: bool = True

    def places(self, size: Pair) -> Pair:
        """How many places it takes on an image of (rows, columns); below 1 if it fits nowhere.

        Caffe rounds up (or down, if told to), then, if there is any padding, drops a last place that would
        begin beyond the image and its leading pad. Without padding a place wholly beyond the image can remain.
        """
        rows, columns = (self._places(axis, size[axis]) for axis in (0, 1))
        return rows, columns

    def _places(self, axis: int, size: int) -> int:
        kernel, stride, pad = self.kernel[axis], self.stride[axis], self.pad[axis]
        span = size + 2 * pad - kernel
        count = (-(-span // stride) if self.ceil else span // stride) + 1
        if any(self.pad) and (count - 1) * stride >= size + pad:
            count -= 1
        return count

    def overhang(self, size: Pair, places: Pair) -> Pair:
        """How far the last places reach beyond the image, below and to the right; 0 if they do not."""
        below, right = (
            max(0, (places[axis] - 1) * self.stride[axis] + self.kernel[axis] - self.pad[axis] - size[axis])
            for axis in (0, 1)
        )
        return below, right

    def is_plain(self, size: Pair, places: Pair) -> bool:
        """Whether PyTorch's pooling takes the same places.

        It allows half a kernel of padding, and drops every place that begins beyond the image and its leading pad.
        """
        return all(
            2 * self.pad[axis] <= self.kernel[axis]
            and (places[axis] - 1) * self.stride[axis] < size[axis] + self.pad[axis]
            for axis in (0, 1)
        )


def max_pool(x: Tensor, window: Window) -> Tensor:
    """The greatest value of each place. Of equal values the first gets the gradient.

    A place beyond the image has Caffe's least value, that of float32 (of x's dtype, if that is narrower).
    """
    size = (x.shape[2], x.shape[3])
    places = window.places(size)
    if window.is_plain(size, places):
        return functional.max_pool2d(x, window.kernel, window.stride, window.pad, 1, window.ceil)
    return functional.max_pool2d(_pad(x, window, places, _lowest(x)), window.kernel, window.stride)


def max_pool_with_mask(x: Tensor, window: Window) -> tuple[Tensor, Tensor]:
    """What `max_pool` gives, and the index row * width + column of each value (dtype of x), -1 for none."""
    size = (x.shape[2], x.shape[3])
    places = window.places(size)
    if window.is_plain(size, places):
        top, index = functional.max_pool2d_with_indices(
            x, window.kernel, window.stride, window.pad, (1, 1), window.ceil
        )
        return top, index.to(x.dtype)
    padded = _pad(x, window, places, _lowest(x))
    top, index = functional.max_pool2d_with_indices(padded, window.kernel, window.stride)
    row = index.div(padded.shape[3], rounding_mode="floor") - window.pad[0]
    column = index.remainder(padded.shape[3]) - window.pad[1]
    outside = (row < 0) | (row >= size[0]) | (column < 0) | (column >= size[1])
    return top, (row * size[1] + column).masked_fill(outside, -1).to(x.dtype)


def average_pool(x: Tensor, window: Window) -> Tensor:
    """The sum of each place divided by how much of it lies within the image and its pads.

    Caffe: the trailing pad is cut at size + pad, so the divisor is not always the kernel's area. A place wholly
    beyond the image divides 0 by 0 (nan) or by a negative area, as Caffe does.
    """
    size = (x.shape[2], x.shape[3])
    places = window.places(size)
    if window.is_plain(size, places):
        return functional.avg_pool2d(x, window.kernel, window.stride, window.pad, window.ceil)
    sums = functional.avg_pool2d(_pad(x, window, places, 0.0), window.kernel, window.stride, divisor_override=1)
    rows, columns = (
        [
            min(place * window.stride[axis] + window.kernel[axis], size[axis] + 2 * window.pad[axis])
            - place * window.stride[axis]
            for place in range(places[axis])
        ]
        for axis in (0, 1)
    )
    areas = torch.tensor([[row * column for column in columns] for row in rows], dtype=x.dtype, device=x.device)
    return sums / areas


def stochastic_pool(x: Tensor, window: Window, *, training: bool) -> Tensor:
    """One value of each place, drawn with a probability proportional to it; in test, their mean so weighted.

    Zeiler and Fergus 2013; for values that are not negative, as after a ReLU. Caffe has it on GPUs only.
    """
    padded = _pad(x, window, window.places((x.shape[2], x.shape[3])), 0.0)
    values = padded.unfold(2, window.kernel[0], window.stride[0]).unfold(3, window.kernel[1], window.stride[1])
    values = values.flatten(4)
    if not training:
        return values.square().sum(-1) / values.sum(-1).clamp_min(torch.finfo(x.dtype).tiny)
    sums = values.detach().cumsum(-1)
    drawn = torch.rand_like(sums[..., :1]) * sums[..., -1:]
    chosen = (sums < drawn).sum(-1, keepdim=True).clamp_max(values.shape[-1] - 1)
    return values.gather(-1, chosen).squeeze(-1)


def _lowest(x: Tensor) -> float:
    return max(torch.finfo(x.dtype).min, torch.finfo(torch.float32).min)


def _pad(x: Tensor, window: Window, places: Pair, value: float) -> Tensor:
    """The image with its leading pads, and as much behind it as the last places need."""
    below, right = window.overhang((x.shape[2], x.shape[3]), places)
    return functional.pad(x, (window.pad[1], right, window.pad[0], below), value=value)


def _pool(x: Tensor, method: int, window: Window, *, training: bool) -> Tensor:
    if method == MAX:
        return max_pool(x, window)
    if method == AVE:
        return average_pool(x, window)
    return stochastic_pool(x, window, training=training)


class _Pools(Layer):
    def _image(self, bottom: Shape) -> Pair:
        if len(bottom) != 4:
            raise self.error(f"expected a bottom of 4 axes (num, channels, height, width), got {bottom}")
        return bottom[2], bottom[3]


def stated_pair(layer: Layer, name: str, default: int) -> Pair:
    """(rows, columns) of a pooling_param, stated as one value for both or as `_h` and `_w`."""
    param = layer.spec.message.pooling_param
    both = "kernel_size" if name == "kernel" else name
    sides = (f"{name}_h", f"{name}_w")
    stated = [side for side in sides if param.HasField(side)]
    if not stated:
        value = getattr(param, both) if param.HasField(both) else default
        return value, value
    if param.HasField(both):
        raise layer.error(f"both {both} and {stated[0]} are stated", hint="state one", kind=SchemaError)
    if len(stated) == 1:
        raise layer.error(f"{stated[0]} is stated alone", hint=f"state {sides[0]} and {sides[1]}", kind=SchemaError)
    return getattr(param, sides[0]), getattr(param, sides[1])


@layer("Pooling")
class Pooling(_Pools):
    """The greatest value or the mean of a sliding window; a second top of MAX is the index of the greatest."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.pooling_param
        self.method = param.pool
        self.mask = len(spec.tops) > 1
        if self.mask and self.method != MAX:
            raise self.error("only MAX has a second top", kind=SchemaError)
        self.window: Window | None = None
        if param.global_pooling:
            self._check_global()
        else:
            self.window = self._window()

    def _check_global(self) -> None:
        param = self.spec.message.pooling_param
        stated = [name for name in ("kernel_size", "kernel_h", "kernel_w") if param.HasField(name)]
        if stated:
            raise self.error(f"{stated[0]} is stated with global_pooling", hint="state one", kind=SchemaError)
        if stated_pair(self, "pad", 0) != (0, 0) or stated_pair(self, "stride", 1) != (1, 1):
            raise self.error("global_pooling needs pad 0 and stride 1", kind=SchemaError)

    def _window(self) -> Window:
        kernel, stride, pad = (stated_pair(self, *pair) for pair in (("kernel", 0), ("stride", 1), ("pad", 0)))
        if min(kernel) < 1:
            raise self.error(
                "kernel_size is missing or 0", hint="state kernel_size, or kernel_h and kernel_w", kind=SchemaError
            )
        if min(stride) < 1:
            raise self.error("stride must be at least 1", kind=SchemaError)
        if any(pad) and self.method == STOCHASTIC:
            raise self.error("STOCHASTIC pooling has no padding", kind=SchemaError)
        if pad[0] >= kernel[0] or pad[1] >= kernel[1]:
            raise self.error(f"pad must be smaller than the kernel, got pad {pad}, kernel {kernel}", kind=SchemaError)
        return Window(kernel, stride, pad, self._rounds_up())

    def _rounds_up(self) -> bool:
        """BVLC states it by round_mode, the forks of Cascade R-CNN by ceil_mode; Caffe: up unless stated."""
        param = self.spec.message.pooling_param
        up = param.round_mode == caffe_pb2.PoolingParameter.CEIL
        if not param.HasField("ceil_mode"):
            return up
        if param.HasField("round_mode") and up != param.ceil_mode:
            raise self.error("round_mode and ceil_mode contradict each other", hint="state one", kind=SchemaError)
        return param.ceil_mode

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(N, C, H, W) -> (N, C, places of the window down, and across), for each top.

        Raises:
            ShapeError: the bottom has not 4 axes, or is smaller than the window.
        """
        size = self._image(bottoms[0])
        window = self.window or Window(size, (1, 1), (0, 0))
        places = window.places(size)
        if min(places) < 1 or min(size) < 1:
            raise self.error(f"a kernel of {window.kernel} does not fit the bottom {bottoms[0]}")
        return ((*bottoms[0][:2], *places),) * (2 if self.mask else 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        window = self.window or Window((x.shape[2], x.shape[3]), (1, 1), (0, 0))
        if self.mask:
            return max_pool_with_mask(x, window)
        return _pool(x, self.method, window, training=self.training)


@layer("SPP")
class SPP(_Pools):
    """Spatial pyramid pooling: the image in 1, 2x2, 4x4, ... bins, each level flattened, all joined."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.spp_param
        self.method = int(param.pool)  # numbered as Pooling's
        self.levels = param.pyramid_height
        if not 1 <= self.levels <= 31:
            raise self.error(f"pyramid_height must be from 1 to 31, got {self.levels}", kind=SchemaError)

    def _level(self, level: int, size: Pair) -> Window:
        """The window of a level. Caffe: as wide as a bin, with half of what is missing at the last as its pad."""
        bins = 2**level
        rows, columns = (math.ceil(length / bins) for length in size)
        below, right = rows * bins - size[0], columns * bins - size[1]
        return Window((rows, columns), (rows, columns), ((below + 1) // 2, (right + 1) // 2))

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(N, C, H, W) -> (N, C * places of all levels), or (N, C, 1, 1) for a pyramid of one level.

        Raises:
            ShapeError: the image is too small for the finest level.
        """
        (bottom,) = bottoms
        size = self._image(bottom)
        count = 0
        for level in range(self.levels):
            window = self._level(level, size)
            if min(size) < 1 or window.pad[0] >= window.kernel[0] or window.pad[1] >= window.kernel[1]:
                raise self.error(f"{2**level} bins are too many for the bottom {bottom}", hint="lower pyramid_height")
            rows, columns = window.places(size)
            count += rows * columns
        return ((*bottom[:2], 1, 1) if self.levels == 1 else (bottom[0], bottom[1] * count),)

    def forward(self, x: Tensor) -> Tensor:
        """The levels from coarse to fine, each flattened in the order channel, row, column."""
        size = (x.shape[2], x.shape[3])
        tops = [_pool(x, self.method, self._level(level, size), training=self.training) for level in range(self.levels)]
        return tops[0] if self.levels == 1 else torch.cat([top.flatten(1) for top in tops], 1)
