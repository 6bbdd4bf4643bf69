"""`caffe.coord_map`: how the coordinates of one blob relate to those of another, and the Crop that aligns them.

A mapping is (axis, scale, shift): coordinate x of the one blob lies at scale * x + shift in the other, on the axes
behind `axis`, each with its own numbers or all with the same; the axis is None where the mapping tells of none. Source
of the rules: coord_map.py of the original.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.errors import GraphError, quoted
from caffecompat.netspec import Function, Top
from caffecompat.netspec import layers as L  # noqa: N812

PASS_THROUGH_LAYERS = [
    "AbsVal",
    "BatchNorm",
    "Bias",
    "BNLL",
    "Dropout",
    "Eltwise",
    "ELU",
    "Log",
    "LRN",
    "Exp",
    "MVN",
    "Power",
    "ReLU",
    "PReLU",
    "Scale",
    "Sigmoid",
    "Split",
    "TanH",
    "Threshold",
]
_LEGACY = {f"{name}_{side}" for name in ("pad", "kernel", "stride") for side in "hw"}

Values = npt.NDArray[Any]
Number = Values | float
Map = tuple[int | None, Number, Number]
IDENTITY: Map = (None, 1, 0)


class UndefinedMapException(GraphError):  # noqa: N818 - the original's name
    """A layer that has no mapping of coordinates."""


class AxisMismatchException(GraphError):  # noqa: N818 - the original's name
    """Mappings of different axes cannot be composed."""


class UnconnectedError(GraphError, RuntimeError):
    """No layers with a mapping lead from a common blob to both."""


class CropError(GraphError, AssertionError):
    """A crop, or a layer on the way to it, that cannot be stated."""


def conv_params(fn: Function) -> tuple[int, Values, Values, Values]:
    """Axis, stride, extent of the kernel (with dilation) and padding of a Convolution, Deconvolution or Pooling.

    Raises:
        CropError: they are stated by `kernel_h` and the like, or there is no kernel.
    """
    params = _stated(fn, "pooling_param" if fn.type_name == "Pooling" else "convolution_param")
    legacy = sorted(_LEGACY & params.keys())
    if legacy:
        raise CropError(
            f"cropping does not support legacy _h/_w params: {', '.join(legacy)} of a {fn.type_name}",
            hint="state a list instead: kernel_size=[3, 5]",
        )
    if "kernel_size" not in params:
        raise CropError(f"a {fn.type_name} without kernel_size has no mapping of coordinates")
    kernel = np.array(params["kernel_size"], ndmin=1)
    extent = (kernel - 1) * np.array(params.get("dilation", 1), ndmin=1) + 1
    stride, pad = np.array(params.get("stride", 1), ndmin=1), np.array(params.get("pad", 0), ndmin=1)
    return params.get("axis", 1), stride, extent, pad


def crop_params(fn: Function) -> tuple[int, Values]:
    """Axis and offset of a Crop; without them it crops from axis 2 on, at 0."""
    params = _stated(fn, "crop_param")
    return params.get("axis", 2), np.array(params.get("offset", 0), ndmin=1)


def _stated(fn: Function, message: str) -> dict[str, Any]:
    """The parameters of a layer, whether they stand in its message or by themselves."""
    return {**fn.params, **fn.params.get(message, {})}


def coord_map(fn: Function) -> Map:
    """The mapping from a layer's bottoms to its tops.

    Raises:
        UndefinedMapException: the layer has none.
        CropError: its parameters cannot be mapped.
    """
    if fn.type_name in ("Convolution", "Pooling", "Im2col"):
        axis, stride, extent, pad = conv_params(fn)
        return axis, 1 / stride, (pad - (extent - 1) / 2) / stride
    if fn.type_name == "Deconvolution":
        axis, stride, extent, pad = conv_params(fn)
        return axis, stride, (extent - 1) / 2 - pad
    if fn.type_name == "Crop":
        axis, offset = crop_params(fn)
        return axis - 1, 1, -offset
    if fn.type_name in PASS_THROUGH_LAYERS:
        return IDENTITY
    raise UndefinedMapException(f"layers of type {quoted(fn.type_name)} have no mapping of coordinates")


def compose(base_map: Map, next_map: Map) -> Map:
    """The mapping that is `next_map` and then `base_map`.

    Raises:
        AxisMismatchException: they are about different axes.
    """
    axis, scale, shift = base_map
    next_axis, next_scale, next_shift = next_map
    if axis is None:
        axis = next_axis
    elif next_axis not in (None, axis):
        raise AxisMismatchException(f"mappings of axes {axis} and {next_axis} cannot be composed")
    return axis, scale * next_scale, scale * next_shift + shift


def inverse(coord_map: Map) -> Map:
    """The mapping in the other direction."""
    axis, scale, shift = coord_map
    return axis, 1 / scale, -shift / scale


def coord_map_from_to(top_from: Top, top_to: Top) -> Map:
    """The mapping from a blob to another, by way of an ancestor that they share.

    Raises:
        UnconnectedError: there is none that layers with mappings lead to.
        AxisMismatchException: layers on the way work on different axes.
        CropError: a layer on the way has parameters that cannot be mapped.
    """
    found = dict(_ancestors(top_from))
    for top, to_map in _ancestors(top_to):
        if top in found:
            return compose(to_map, inverse(found[top]))
    raise UnconnectedError("Could not compute map between tops; are they connected by spatial layers?")


def _ancestors(top: Top) -> Iterator[tuple[Top, Map]]:
    """A blob and those that it is made from, near ones first, with the mapping from each of them."""
    seen: dict[Top, Map] = {top: IDENTITY}
    waiting = deque([top])
    while waiting:
        current = waiting.popleft()
        yield current, seen[current]
        # The second bottom of a Crop gives its size only.
        bottoms = current.fn.inputs[:1] if current.fn.type_name == "Crop" else current.fn.inputs
        bottoms = tuple(bottom for bottom in bottoms if bottom not in seen)
        if not bottoms:
            continue
        try:
            step = coord_map(current.fn)
        except UndefinedMapException:
            continue
        for bottom in bottoms:
            seen[bottom] = compose(seen[current], step)
            waiting.append(bottom)


def crop(top_from: Top, top_to: Top) -> Top:
    """A Crop of `top_from` to where `top_to` is, and to its size.

    Raises:
        CropError: the two have different scales, or the offset is negative or no whole number.
        CaffeCompatError: as `coord_map_from_to`.
    """
    axis, scale, shift = coord_map_from_to(top_from, top_to)
    shift = np.atleast_1d(shift)
    if not np.all(scale == 1):
        raise CropError(f"scale mismatch on crop (a = {scale})")
    if not np.all(shift <= 0):
        raise CropError(f"cannot crop negative offset (b = {shift})")
    if not np.all(np.round(shift) == shift):
        raise CropError(f"cannot crop noninteger offset (b = {shift})")
    # Where all layers between pass coordinates through, all axes behind the channels are cropped.
    first = 2 if axis is None else axis + 1
    cropped: Top = L.Crop(top_from, top_to, crop_param={"axis": first, "offset": [int(-value) for value in shift]})
    return cropped
