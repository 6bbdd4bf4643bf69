"""Convolution, Deconvolution and Im2col, over one to three spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.errors import SchemaError, UnsupportedError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer

Ints = tuple[int, ...]


class Window(NamedTuple):
    """A sliding window: each of its sizes has one value for each spatial axis."""

    kernel: Ints
    stride: Ints
    pad: Ints
    dilation: Ints

    @property
    def extent(self) -> Ints:
        """How far a kernel reaches, the holes of its dilation included."""
        return tuple(d * (k - 1) + 1 for k, d in zip(self.kernel, self.dilation, strict=True))


class _Windowed(Layer):
    """What the three have in common: the window, and the axis of the channels."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.channel_axis = self.axis(spec.message.convolution_param.axis, len(bottoms[0]))
        self.spatial_axes = len(bottoms[0]) - self.channel_axis - 1
        self.window = self._window()

    def _window(self) -> Window:
        param = self.spec.message.convolution_param
        kernel = self._sizes("kernel_size", param.kernel_size, "kernel", least=1)
        if kernel is None:
            raise self.error(
                "kernel_size is missing", hint="state kernel_size, or kernel_h and kernel_w", kind=SchemaError
            )
        stride = self._sizes("stride", param.stride, "stride", least=1)
        pad = self._sizes("pad", param.pad, "pad", least=0)
        dilation = self._dilation()
        ones = (1,) * self.spatial_axes
        return Window(kernel, stride or ones, pad or (0,) * self.spatial_axes, dilation or ones)

    def _dilation(self) -> Ints | None:
        """Stated as dilation, or as hole or hole_h and hole_w in nets of DeepLab v1."""
        param = self.spec.message.convolution_param
        holes = [name for name in ("hole", "hole_h", "hole_w") if param.HasField(name)]
        if holes and param.dilation:
            raise self.error(f"both dilation and {holes[0]} are stated", hint="state one", kind=SchemaError)
        if holes:
            return self._sizes("hole", [param.hole] if param.HasField("hole") else [], "hole", least=1)
        return self._sizes("dilation", param.dilation, "", least=1)

    def _sizes(self, name: str, values: Sequence[int], pair: str, *, least: int) -> Ints | None:
        """One value for each spatial axis. Caffe: stated once for all, once for each, or as `_h` and `_w` in 2-D."""
        message, axes = self.spec.message.convolution_param, self.spatial_axes
        stated = [f"{pair}_{side}" for side in "hw" if pair and message.HasField(f"{pair}_{side}")]
        if stated:
            if axes != 2:
                raise self.error(f"{stated[0]} needs 2 spatial axes, the bottom has {axes}", kind=SchemaError)
            if values:
                raise self.error(f"both {name} and {stated[0]} are stated", hint="state one", kind=SchemaError)
            sizes: Ints = (getattr(message, f"{pair}_h"), getattr(message, f"{pair}_w"))
        elif len(values) == 1:
            sizes = (values[0],) * axes
        elif not values:
            return None
        else:
            sizes = tuple(values)
        if len(sizes) != axes:
            raise self.error(
                f"{name} is stated {len(sizes)} times for {axes} spatial axes",
                hint="state it once, or once for each spatial axis",
                kind=SchemaError,
            )
        if min(sizes, default=least) < least:
            raise self.error(f"{name} must be at least {least}, got {', '.join(map(str, sizes))}", kind=SchemaError)
        return sizes

    def _slid(self, bottom: Shape) -> Ints:
        """How many places the window takes along each spatial axis. Caffe: rounded down."""
        window, sizes = self.window, bottom[self.channel_axis + 1 :]
        places = tuple(
            (size + 2 * pad - extent) // stride + 1
            for size, extent, stride, pad in zip(sizes, window.extent, window.stride, window.pad, strict=True)
        )
        if min(places, default=1) < 1:
            raise self.error(f"a kernel that reaches over {window.extent} does not fit the bottom {bottom}")
        return places


class Convolving(_Windowed):
    """What Convolution and Deconvolution have in common: the weights, and several bottoms that share them.

    Attributes:
        memory_format: how the bottoms are to lie in memory; None to take them as they come.
    """

    weight: Tensor
    bias: Tensor | None
    memory_format: torch.memory_format | None = None

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.convolution_param
        if not 1 <= self.spatial_axes <= 3:
            raise self.error(
                f"{spec.type} over {self.spatial_axes} spatial axes is not done here, the bottom is {bottoms[0]}",
                hint="one to three are; convolution_param.axis says which axis holds the channels",
                kind=UnsupportedError,
            )
        self.channels = bottoms[0][self.channel_axis]
        self.outputs, self.group = self._counts()
        if self.outputs < 1:
            raise self.error("num_output is missing or 0", kind=SchemaError)
        if self.channels < 1:
            raise self.error(f"the bottom {bottoms[0]} has no channels on axis {self.channel_axis}")
        if self.group < 1 or self.channels % self.group or self.outputs % self.group:
            raise self.error(
                f"group {self.group} does not divide the {self.channels} channels of the bottom "
                f"and num_output {self.outputs}"
            )
        self.declare("weight", (*self._weight_channels(), *self.window.kernel), param.weight_filler)
        if param.bias_term:
            self.declare("bias", (self.outputs,), param.bias_filler)
        else:
            self.bias = None

    def _counts(self) -> tuple[int, int]:
        """How many channels it gives, and in how many groups the channels are."""
        param = self.spec.message.convolution_param
        return param.num_output, param.group

    def _weight_channels(self) -> tuple[int, int]:
        raise NotImplementedError

    def _places(self, bottom: Shape) -> Ints:
        raise NotImplementedError

    def _convolve(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(..., channels, *spatial) -> (..., num_output, *places of the window) for each bottom.

        Raises:
            ShapeError: the bottoms differ in shape, have other channels than the weights, or are too small.
        """
        first, axis = bottoms[0], self.channel_axis
        if len(first) != axis + 1 + self.spatial_axes or first[axis] != self.channels:
            raise self.error(
                f"expected a bottom of {axis + 1 + self.spatial_axes} axes with {self.channels} channels "
                f"on axis {axis}, got {first}"
            )
        for other in bottoms[1:]:
            if other != first:
                raise self.error(f"all bottoms must have the same shape, got {first} and {other}")
        return ((*first[:axis], self.outputs, *self._places(first)),) * len(bottoms)

    def forward(self, *bottoms: Tensor) -> Tensor | tuple[Tensor, ...]:
        if len(bottoms) == 1:
            return self._apply_to(bottoms[0])
        return tuple(self._apply_to(x) for x in bottoms)

    def _apply_to(self, x: Tensor) -> Tensor:
        if self.memory_format is not None:
            x = x.contiguous(memory_format=self.memory_format)
        if self.channel_axis == 1:
            return self._convolve(x)
        if self.channel_axis == 0:
            return self._convolve(x.unsqueeze(0)).squeeze(0)
        y = self._convolve(x.flatten(0, self.channel_axis - 1))
        return y.reshape(*x.shape[: self.channel_axis], *y.shape[1:])


# Of convolutions of 1x1 that skip places, oneDNN writes beyond its memory when it computes the gradient of the weights
# of fewer channels than it takes at once, 8 or 16, with the channels innermost (uxlfoundation/oneDNN, issue 6035).
# Without the places that are skipped it is the same, and safe.
MOST_SKIPPED = 16


@layer("Convolution")
class Convolution(Convolving):
    """Caffe's convolution (a correlation). Blobs: weight (num_output, channels / group, *kernel), bias (num_output).

    `engine` and `force_nd_im2col` choose among implementations and are without effect here.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self._function = (functional.conv1d, functional.conv2d, functional.conv3d)[self.spatial_axes - 1]
        pointwise = max(self.window.kernel) == 1 and not any(self.window.pad)
        self._skips = pointwise and max(self.window.stride) > 1 and self.channels // self.group < MOST_SKIPPED

    def _weight_channels(self) -> tuple[int, int]:
        return self.outputs, self.channels // self.group

    def _places(self, bottom: Shape) -> Ints:
        return self._slid(bottom)

    def _convolve(self, x: Tensor) -> Tensor:
        window = self.window
        if self._skips and self.weight.requires_grad and torch.is_grad_enabled():
            places: tuple[Any, ...] = (..., *(slice(None, None, step) for step in window.stride))
            return self._function(x[places], self.weight, self.bias, groups=self.group)
        return self._function(x, self.weight, self.bias, window.stride, window.pad, window.dilation, self.group)


@layer("DepthwiseConvolution", "ConvolutionDepthwise")
class DepthwiseConvolution(Convolution):
    """A Convolution in which each channel is a group of its own (ports of MobileNet, ShuffleNet and Xception).

    Blobs: weight (num_output, 1, *kernel), bias (num_output). num_output is that of the channels if not stated.
    """

    def _counts(self) -> tuple[int, int]:
        param = self.spec.message.convolution_param
        if param.group not in (1, self.channels):
            raise self.error(
                f"a depthwise convolution of {self.channels} channels has as many groups, got group {param.group}",
                hint='leave group out, or use the type "Convolution"',
            )
        return param.num_output or self.channels, self.channels


@layer("Deconvolution")
class Deconvolution(Convolving):
    """The transposed convolution. Blobs: weight (channels, num_output / group, *kernel), bias (num_output)."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        functions = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)
        self._function = functions[self.spatial_axes - 1]

    def _weight_channels(self) -> tuple[int, int]:
        return self.channels, self.outputs // self.group

    def _places(self, bottom: Shape) -> Ints:
        window, sizes = self.window, bottom[self.channel_axis + 1 :]
        places = tuple(
            stride * (size - 1) + extent - 2 * pad
            for size, extent, stride, pad in zip(sizes, window.extent, window.stride, window.pad, strict=True)
        )
        if min(places) < 1:
            raise self.error(f"pad {window.pad} leaves nothing of the top: the bottom is {bottom}")
        return places

    def _convolve(self, x: Tensor) -> Tensor:
        window = self.window
        return self._function(x, self.weight, self.bias, window.stride, window.pad, 0, self.group, window.dilation)


@layer("Im2col")
class Im2col(_Windowed):
    """Every place of the window as a column: (..., C, *spatial) -> (..., C * kernel values, *places)."""

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """The channels times the kernel's values, then the places of the window."""
        (bottom,) = bottoms
        rows = bottom[self.channel_axis]
        for size in self.window.kernel:
            rows *= size
        return ((*bottom[: self.channel_axis], rows, *self._slid(bottom)),)

    def forward(self, x: Tensor) -> Tensor:
        """Rows ordered by channel, then by the place in the kernel, as the weights of a Convolution are."""
        window, first = self.window, self.channel_axis + 1
        x = functional.pad(x, [side for pad in reversed(window.pad) for side in (pad, pad)])
        for index, (extent, stride) in enumerate(zip(window.extent, window.stride, strict=True)):
            x = x.unfold(first + index, extent, stride)[..., :: window.dilation[index]]
        axes = list(range(x.dim()))
        places, kernel = axes[first : first + self.spatial_axes], axes[first + self.spatial_axes :]
        x = x.permute(*axes[:first], *kernel, *places)
        return x.flatten(self.channel_axis, self.channel_axis + self.spatial_axes)
