"""Preprocessing: how a picture becomes a net's input. A record of the net, carried into every export.

The order is Caffe's (data_transformer.cpp, TEST phase): read as B, G, R (or grey), resize as uint8, crop the
centre, and then (pixel - mean) * scale in float32; a mean image is subtracted at the pixel's place before
the crop.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np
import numpy.typing as npt

from caffecompat.data.geometry import Geometry, Layout, Resize, Size, layout
from caffecompat.data.images import Image
from caffecompat.errors import ShapeError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from torch import nn

    from caffecompat.data.embedding import Embedded
    from caffecompat.graph.spec import Graph

Channels = Literal["bgr", "rgb", "gray", "none"]
Interpolation = Literal["linear", "area", "nearest", "cubic", "lanczos4"]
Pad = Literal["constant", "mirrored", "repeat_nearest"]
Floats = npt.NDArray[np.float32]

INTERPOLATIONS: dict[Interpolation, int] = {
    "linear": cv2.INTER_LINEAR,
    "area": cv2.INTER_AREA,
    "nearest": cv2.INTER_NEAREST,
    "cubic": cv2.INTER_CUBIC,
    "lanczos4": cv2.INTER_LANCZOS4,
}
_PADS: dict[Pad, int] = {
    "constant": cv2.BORDER_CONSTANT,
    "mirrored": cv2.BORDER_REFLECT_101,
    "repeat_nearest": cv2.BORDER_REPLICATE,
}


@dataclass(frozen=True)
class Segmentation:
    """What a net that labels pixels needs besides (the dilation authors' datasets/*.json).

    Attributes:
        dilation: the largest dilation of the net, part of its name; 0 if not known.
        zoom: how many input pixels an output pixel stands for, each way.
        label_margin: how many input pixels on each side have no output.
        palette: a colour (R, G, B) for each class.
    """

    dilation: int = 0
    zoom: int = 1
    label_margin: int = 0
    palette: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """How a picture becomes a net's input.

    Attributes:
        input: the blob that takes the picture.
        channels: the order of its channels; "none" if it takes no picture (neither 1 nor 3 channels).
        mean: what is subtracted, one value or one a channel, in the order of `channels`; () for nothing.
        mean_image: what is subtracted instead, float32 (C, H, W); as large as the resized picture, or as the input.
        scale: multiplies what remains.
        size: (height, width) the picture is resized to; None leaves it as it is.
        resize: "warp" to exactly `size`; "fit_small": the picture covers `size`, keeping its aspect;
            "fit_large_pad": it fits into `size`, keeping its aspect, and is padded.
        interpolation: OpenCV's method of resizing.
        pad: how "fit_large_pad" fills the border.
        pad_values: what "constant" fills it with, one value or one a channel, in the order of `channels`.
        crop: (height, width) cut out of the middle after resizing; None cuts nothing.
        labels: the names of the classes.
        variances: those of the prior boxes, where all of them have the same.
        segmentation: of a net that labels pixels.
    """

    input: str = "data"
    channels: Channels = "bgr"
    mean: tuple[float, ...] = ()
    mean_image: Floats | None = None
    scale: float = 1.0
    size: Size | None = None
    resize: Resize = "warp"
    interpolation: Interpolation = "linear"
    pad: Pad = "constant"
    pad_values: tuple[float, ...] = ()
    crop: Size | None = None
    labels: tuple[str, ...] = ()
    variances: tuple[float, ...] = ()
    segmentation: Segmentation | None = None

    @classmethod
    def from_graph(
        cls,
        graph: Graph,
        *,
        base_dir: str | os.PathLike[str] | None = None,
        input_shapes: Mapping[str, Sequence[int]] | None = None,
        mean: str | Sequence[float] | None = None,
        scale: float | None = None,
        channels: Channels | None = None,
        labels: str | os.PathLike[str] | Sequence[str] | None = None,
        size: Size | None = None,
        resize: Resize | None = None,
        interpolation: Interpolation | None = None,
    ) -> Preprocessing:
        """What a net says of its input, and over it what the arguments say.

        Args:
            graph: the net; before data layers were replaced, so that their transform_param counts.
            base_dir: the folder of the prototxt, where files that it names are looked for too.
            input_shapes: the shapes of inputs where they are known better than the prototxt says.
            mean: values such as "104,117,123", or a file: .binaryproto, .npy, or a dilation net's .json.
            scale: multiplies the values after the mean is subtracted.
            channels: the order of the channels.
            labels: the names of the classes, or a file of them (see `data.labels`).
            size: (height, width) pictures are resized to; where the input is smaller, its size is cut out.
            resize: the rule of resizing.
            interpolation: the method of resizing.

        Raises:
            CaffeCompatError: a file cannot be read, or the parts do not fit. A mean_file or label_map_file of
                the prototxt that is not there is a `CaffeCompatWarning`.
        """
        from caffecompat.data.reading import Given, preprocessing_of

        given = Given(mean, scale, channels, labels, size, resize, interpolation)
        return preprocessing_of(graph, given, base_dir=base_dir, input_shapes=input_shapes or {})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Preprocessing):
            return NotImplemented
        plain = [field.name for field in fields(self) if field.name != "mean_image"]
        same = all(getattr(self, name) == getattr(other, name) for name in plain)
        if self.mean_image is None or other.mean_image is None:
            return same and self.mean_image is other.mean_image
        return same and np.array_equal(self.mean_image, other.mean_image)

    __hash__ = None  # type: ignore[assignment]

    @property
    def net_size(self) -> Size | None:
        """(height, width) of the input; None if it is as large as the picture makes it."""
        return self.crop or (None if self.resize == "fit_small" else self.size)

    def apply(self, images: Sequence[Image]) -> Floats:
        """The input for pictures.

        Args:
            images: uint8, (height, width, 3) in the order B, G, R, or grey (height, width).

        Returns:
            float32 (N, C, H, W).

        Raises:
            ShapeError: the pictures do not come out equally large, or the crop or the mean does not fit.
            UnsupportedError: the net takes no pictures.
        """
        if not images:
            raise UsageError("expected one image or more, got none")
        items = [self.cut(self.resized(image)) for image in images]
        shapes = {item.shape for item in items}
        if len(shapes) > 1:
            hint = "give one at a time, or a size to resize them to"
            raise ShapeError(f"the images of a batch come out in {len(shapes)} sizes: {sorted(shapes)}", hint=hint)
        return np.stack(items)

    def resized(self, image: Image) -> Image:
        """A picture (B, G, R, or grey) with the net's channels and resized: uint8 (height, width, C)."""
        pixels = self._in_order(image)
        placed = self._layout(pixels.shape[0], pixels.shape[1])
        if placed.size != pixels.shape[:2]:
            method = INTERPOLATIONS[self.interpolation]
            pixels = np.asarray(cv2.resize(pixels, placed.size[::-1], interpolation=method), dtype=np.uint8)
        if placed.padded != placed.size:
            fill = (self.pad_values or (0.0,)) * (3 if len(self.pad_values) < 2 else 1)
            border = cv2.copyMakeBorder(pixels, *placed[1:], _PADS[self.pad], value=fill)
            pixels = np.asarray(border, dtype=np.uint8)
        return pixels.reshape(*pixels.shape[:2], -1)

    def cut(self, pixels: Image, top: int | None = None, left: int | None = None) -> Floats:
        """The input from a resized picture: its middle or the place given cut out, mean and scale applied.

        Args:
            pixels: what `resized` returned.
            top: first row of the cut; None for the middle, (height - crop height) / 2 rounded down.
            left: first column of the cut.

        Returns:
            float32 (C, H, W).
        """
        height, width = pixels.shape[:2]
        rows, columns = self.crop or (height, width)
        top = (height - rows) // 2 if top is None else top
        left = (width - columns) // 2 if left is None else left
        if not (0 <= top <= height - rows and 0 <= left <= width - columns):
            raise ShapeError(f"cannot cut {rows}x{columns} at ({top}, {left}) out of an image of {height}x{width}")
        place = (slice(top, top + rows), slice(left, left + columns))
        values = np.ascontiguousarray(pixels[place].transpose(2, 0, 1), dtype=np.float32)
        mean = self._mean(values.shape, (height, width), place)
        if mean is not None:
            values -= mean
        if self.scale != 1.0:
            values *= np.float32(self.scale)
        return values

    def geometry(self, height: int, width: int) -> Geometry:
        """Where the pixels of a picture of this size lie in the input: to turn boxes back into pixels."""
        placed = self._layout(height, width)
        (rows, columns), crop = placed.padded, self.crop or placed.padded
        top, left = placed.top - (rows - crop[0]) // 2, placed.left - (columns - crop[1]) // 2
        return Geometry(placed.size[0] / height, placed.size[1] / width, float(top), float(left))

    def to_json(self) -> str:
        """The record as JSON; `data.record` describes it."""
        from caffecompat.data.record import to_json

        return to_json(self)

    @classmethod
    def from_json(cls, text: str | bytes) -> Preprocessing:
        """The record from JSON.

        Raises:
            FormatError: it is not what `to_json` writes.
        """
        from caffecompat.data.record import from_json

        return from_json(text)

    def embed(self, module: nn.Module) -> Embedded:
        """`module` with order, mean and scale put before it; see `data.embedding.Embedded`."""
        from caffecompat.data.embedding import Embedded

        return Embedded(self, module)

    def _in_order(self, image: Image) -> Image:
        if image.dtype != np.uint8 or image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (1, 3)):
            got = f"{image.dtype} {image.shape}"
            raise ShapeError(f"expected an image of uint8, (height, width, 3) or (height, width), got {got}")
        if image.size == 0:
            raise ShapeError(f"expected an image, got one of {image.shape[0]}x{image.shape[1]} pixels")
        if self.channels == "none":
            raise UnsupportedError(f'input "{self.input}" takes no picture: it has neither 1 nor 3 channels')
        grey = image.ndim == 2 or image.shape[2] == 1
        if self.channels == "gray":
            return image.reshape(image.shape[:2]) if grey else np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
        colour = np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2) if grey else image
        return np.ascontiguousarray(colour[:, :, ::-1]) if self.channels == "rgb" else colour

    def _layout(self, height: int, width: int) -> Layout:
        return layout(height, width, self.size, self.resize)

    def _mean(self, shape: tuple[int, ...], whole: Size, place: tuple[slice, slice]) -> Floats | None:
        """What to subtract from values of `shape` (C, H, W), cut at `place` out of a picture of size `whole`."""
        if self.mean_image is None:
            if len(self.mean) not in (0, 1, shape[0]):
                raise ShapeError(f"expected one mean value or {shape[0]}, one a channel, got {len(self.mean)}")
            return np.asarray(self.mean, dtype=np.float32).reshape(-1, 1, 1) if self.mean else None
        if self.mean_image.shape == (shape[0], *whole):
            return self.mean_image[:, place[0], place[1]]
        if self.mean_image.shape == shape:
            return self.mean_image
        expected = f"expected a mean image of {(shape[0], *whole)} or of the input's {shape}"
        raise ShapeError(f"{expected}, got {self.mean_image.shape}")
