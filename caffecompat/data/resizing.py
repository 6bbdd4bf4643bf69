"""Resizing pictures as `resize_param` says (im_transforms.cpp of the SSD branch: InferNewSize, ApplyResize)."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np

from caffecompat.data.draws import Draws
from caffecompat.data.geometry import MAX_PIXELS, Layout, Resize, Size, layout
from caffecompat.data.images import Image
from caffecompat.data.source import Floats
from caffecompat.errors import FormatError, ShapeError
from caffecompat.graph.spec import LayerSpec
from caffecompat.schema import caffe_pb2

MAX_CHANNELS = 4
_MODES: dict[int, Resize] = {
    caffe_pb2.ResizeParameter.WARP: "warp",
    caffe_pb2.ResizeParameter.FIT_SMALL_SIZE: "fit_small",
    caffe_pb2.ResizeParameter.FIT_LARGE_SIZE_AND_PAD: "fit_large_pad",
}
_PADS = {
    caffe_pb2.ResizeParameter.CONSTANT: cv2.BORDER_CONSTANT,
    caffe_pb2.ResizeParameter.MIRRORED: cv2.BORDER_REFLECT_101,
    caffe_pb2.ResizeParameter.REPEAT_NEAREST: cv2.BORDER_REPLICATE,
}
_INTERPOLATIONS = {
    caffe_pb2.ResizeParameter.LINEAR: cv2.INTER_LINEAR,
    caffe_pb2.ResizeParameter.AREA: cv2.INTER_AREA,
    caffe_pb2.ResizeParameter.NEAREST: cv2.INTER_NEAREST,
    caffe_pb2.ResizeParameter.CUBIC: cv2.INTER_CUBIC,
    caffe_pb2.ResizeParameter.LANCZOS4: cv2.INTER_LANCZOS4,
}


class Resizer:
    """What one `resize_param` does to pictures; as in the original, its `prob` is not asked.

    Args:
        param: the parameter.
        spec: the layer that has it, for errors.

    Attributes:
        choices: how many interpolations it draws one of; what is drawn is an index below this number.
    """

    def __init__(self, param: caffe_pb2.ResizeParameter, spec: LayerSpec) -> None:
        self._size: Size = (param.height, param.width)
        if min(self._size) < 1 or param.height * param.width > MAX_PIXELS:
            raise spec.error(
                f"resize_param: expected a height and a width of 1 or more, at most {MAX_PIXELS} pixels, "
                f"got {param.height} and {param.width}"
            )
        self._mode = _MODES[param.resize_mode]
        self._pad = _PADS[param.pad_mode]
        self._values = tuple(param.pad_value)
        self._interpolations = [_INTERPOLATIONS[mode] for mode in param.interp_mode] or [cv2.INTER_LINEAR]
        self.choices = len(self._interpolations)

    def layout(self, height: int, width: int) -> Layout:
        """How a picture of this size comes to lie.

        Raises:
            ShapeError: nothing would be left of it.
        """
        return layout(height, width, self._size, self._mode)

    def __call__(self, image: Image, choice: int = 0) -> Image:
        """A picture (height, width) or (height, width, channels), resized with interpolation `choice`.

        Raises:
            ShapeError: it has more channels than pictures have, or nothing would be left of it.
        """
        channels = 1 if image.ndim == 2 else image.shape[2]
        if channels > MAX_CHANNELS:
            raise ShapeError(f"resize_param resizes pictures of up to {MAX_CHANNELS} channels, got {channels}")
        placed = self.layout(image.shape[0], image.shape[1])
        try:
            resized = cv2.resize(image, placed.size[::-1], interpolation=self._interpolations[choice])
            if placed.padded != placed.size:
                fill = self._fill(channels)
                resized = cv2.copyMakeBorder(resized, *placed[1:], self._pad, value=fill)
        except cv2.error as error:
            raise FormatError(f"cannot resize to {placed.size[0]}x{placed.size[1]}: {error.err}") from error
        return np.asarray(resized, dtype=np.uint8)

    def _fill(self, channels: int) -> tuple[float, ...]:
        if len(self._values) not in (0, 1, channels):
            raise ShapeError(
                f"resize_param: expected one pad_value or {channels}, one a channel, got {len(self._values)}"
            )
        return self._values * channels if len(self._values) == 1 else self._values or (0.0,)


def roll_die(draws: Draws, sides: int) -> int:
    """An index below `sides`, each as likely: roll_weighted_die of equal weights, drawn from the thread's generator."""
    cumulative, top = _faces(sides)
    value = top
    while value >= top:
        value = np.float32(draws()) / np.float32(2**32) * top
    return min(int(cumulative.searchsorted(value)), sides - 1)


@cache
def _faces(sides: int) -> tuple[Floats, np.float32]:
    """The cumulative weights of the sides, and up to where a number is drawn."""
    cumulative = np.add.accumulate(np.full(sides, np.float32(1) / np.float32(sides), np.float32))
    # boost::uniform_real, up to and including the last of them.
    return cumulative, np.nextafter(cumulative[-1], np.float32(np.inf))
