"""Interp, Upsample and MaxUnpool: images made larger, by interpolation or back from a max pooling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.errors import SchemaError, UsageError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer, meanings
from caffecompat.layers.pooling import Pair, stated_pair


class _OfImages(Layer):
    """A layer whose bottom is (num, channels, height, width)."""

    def _image(self, bottom: Shape) -> Pair:
        if len(bottom) != 4:
            raise self.error(f"expected a bottom of 4 axes (num, channels, height, width), got {bottom}")
        return bottom[2], bottom[3]


@layer("Interp")
class Interp(_OfImages):
    """Bilinear interpolation whose corners are the bottom's corners (DeepLab v2, PSPNet).

    The size is that of the bottom, cropped by pad_beg and pad_end (not above 0), then shrunk to
    (size - 1) / shrink_factor + 1 and enlarged to size + (size - 1) * (zoom_factor - 1); or height and width, where
    they are stated and not exactly one of the factors is.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.interp_param
        self.before, self.behind = -param.pad_beg, -param.pad_end
        if min(self.before, self.behind) < 0:
            raise self.error(
                f"pad_beg and pad_end must be at most 0 (they crop), got {param.pad_beg} and {param.pad_end}",
                kind=SchemaError,
            )
        self.shrink, self.zoom = param.shrink_factor, param.zoom_factor
        if min(self.shrink, self.zoom) < 1:
            raise self.error(
                f"factors must be at least 1, got shrink_factor {self.shrink}, zoom_factor {self.zoom}",
                kind=SchemaError,
            )
        factors = param.HasField("shrink_factor") + param.HasField("zoom_factor")
        sized = param.HasField("height") and param.HasField("width")
        if not factors and not sized:
            raise self.error(
                "the size is missing", hint="state height and width, zoom_factor, or shrink_factor", kind=SchemaError
            )
        self.fixed: Pair | None = (param.height, param.width) if sized and factors != 1 else None

    def _size(self, size: Pair) -> Pair:
        """The top's size, for a bottom of this size."""
        if self.fixed is not None:
            return self.fixed
        shrunk = [(length - self.before - self.behind - 1) // self.shrink + 1 for length in size]
        height, width = (length + (length - 1) * (self.zoom - 1) for length in shrunk)
        return height, width

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(N, C, H, W) -> (N, C, *size).

        Raises:
            ShapeError: the crop leaves nothing, or the size is not above 0.
        """
        (bottom,) = bottoms
        size = self._image(bottom)
        if min(size) - self.before - self.behind < 1:
            raise self.error(f"a crop by {self.before} and {self.behind} leaves nothing of the bottom {bottom}")
        top = self._size(size)
        if min(top) < 1:
            raise self.error(f"height and width must be at least 1, got {top[0]} and {top[1]}")
        return ((*bottom[:2], *top),)

    def forward(self, x: Tensor) -> Tensor:
        size = self._size((x.shape[2], x.shape[3]))
        if self.before or self.behind:
            x = x[:, :, self.before : x.shape[2] - self.behind, self.before : x.shape[3] - self.behind]
        return functional.interpolate(x, size, mode="bilinear", align_corners=True)


class Nearest(_OfImages):
    """Upsample of one bottom: each pixel `scale` times in both directions (ports of YOLO)."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.upsample_param
        self.scales = _scales(self)
        if param.HasField("upsample_h") or param.HasField("upsample_w") or param.pad_out_h or param.pad_out_w:
            raise self.error(
                "upsample_h, upsample_w, pad_out_h and pad_out_w need the mask of a max pooling as a second bottom",
                hint="state scale alone, or add the mask, the second top of the Pooling layer",
                kind=SchemaError,
            )

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(N, C, H, W) -> (N, C, H * scale, W * scale)."""
        height, width = self._image(bottoms[0])
        return ((*bottoms[0][:2], height * self.scales[0], width * self.scales[1]),)

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2] * self.scales[0], x.shape[3] * self.scales[1])
        return functional.interpolate(x, size, mode="nearest")


class _Unpooling(_OfImages):
    """Each value to the place in its channel that the mask, the second top of a max pooling, says; 0 elsewhere.

    Caffe: of several values for one place the last stays, and each takes the place's gradient.
    """

    def _size(self, size: Pair) -> Pair:
        raise NotImplementedError

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(N, C, H, W) twice -> (N, C, *size).

        Raises:
            ShapeError: the bottoms differ, or the size is not above 0.
        """
        first, mask = bottoms
        size = self._size(self._image(first))
        if mask != first:
            raise self.error(f"the mask must have the shape of the first bottom: {first}, got {mask}")
        if min(size) < 1:
            raise self.error(f"the top would have the size {size[0]} x {size[1]}: the bottom is {first}")
        return ((*first[:2], *size),)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        height, width = self._size((x.shape[2], x.shape[3]))
        places = mask.detach().flatten(2).to(torch.int64)
        if not torch.compiler.is_compiling() and places.numel() and not places.is_meta:
            least, greatest = (int(end) for end in places.aminmax())
            if least < 0 or greatest >= height * width:
                raise self.error(
                    f"the mask has places from {least} to {greatest}, the top {height} x {width} has "
                    f"0 to {height * width - 1}",
                    hint="the size must be that of the bottom of the Pooling layer that made the mask",
                    kind=UsageError,
                )
        top = x.new_zeros((*x.shape[:2], height * width)).scatter(2, places, x.flatten(2))
        return top.view(*x.shape[:2], height, width)


class UpsampleByMask(_Unpooling):
    """Upsample of two bottoms (SegNet): to upsample_h x upsample_w, or by scale less pad_out_h and pad_out_w."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.upsample_param
        self.fixed: Pair | None = None
        if param.HasField("upsample_h") and param.HasField("upsample_w"):
            self.fixed = param.upsample_h, param.upsample_w
            if min(self.fixed) < 2:
                raise self.error(f"upsample_h and upsample_w must be above 1, got {self.fixed}", kind=SchemaError)
            return
        self.scales = _scales(self)
        self.missing = int(param.pad_out_h), int(param.pad_out_w)
        if min(self.scales) < 2:
            raise self.error(f"scale must be above 1, got {self.scales}", kind=SchemaError)
        if any(missing and scale != 2 for missing, scale in zip(self.missing, self.scales, strict=True)):
            raise self.error("pad_out_h and pad_out_w need a scale of 2", kind=SchemaError)

    def _size(self, size: Pair) -> Pair:
        if self.fixed is not None:
            return self.fixed
        return size[0] * self.scales[0] - self.missing[0], size[1] * self.scales[1] - self.missing[1]


@layer("MaxUnpool")
class MaxUnpool(_Unpooling):
    """The way back from a max pooling with the window of `pooling_param`: to (size - 1) * stride + kernel - 2 * pad."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.kernel, self.stride, self.pad = (
            stated_pair(self, name, default) for name, default in (("kernel", 0), ("stride", 1), ("pad", 0))
        )
        if min(self.kernel) < 1 or min(self.stride) < 1:
            raise self.error(
                f"kernel and stride must be at least 1, got kernel {self.kernel}, stride {self.stride}",
                hint="state the pooling_param of the Pooling layer that made the mask",
                kind=SchemaError,
            )

    def _size(self, size: Pair) -> Pair:
        height, width = (
            (size[axis] - 1) * self.stride[axis] + self.kernel[axis] - 2 * self.pad[axis] for axis in (0, 1)
        )
        return height, width


def _scales(layer: Layer) -> Pair:
    """The factors down and across: scale for both, or scale_h and scale_w."""
    param = layer.spec.message.upsample_param
    sides = [side for side in ("scale_h", "scale_w") if param.HasField(side)]
    if len(sides) == 1 or (sides and param.HasField("scale")):
        raise layer.error("state scale, or scale_h and scale_w", kind=SchemaError)
    scales = (param.scale_h, param.scale_w) if sides else (param.scale, param.scale)
    if not sides and not param.HasField("scale") and len(layer.spec.bottoms) == 1:
        raise layer.error("scale is missing", hint="state upsample_param { scale: 2 }", kind=SchemaError)
    if min(scales) < 1:
        raise layer.error(f"scale must be at least 1, got {scales[0]} and {scales[1]}", kind=SchemaError)
    return scales


@meanings("Upsample", UpsampleByMask, Nearest)
def _upsample(spec: LayerSpec, bottoms: Sequence[Shape]) -> type[Layer]:
    """SegNet's has the mask as a second bottom, that of the ports of YOLO one bottom."""
    return UpsampleByMask if len(bottoms) == 2 else Nearest
