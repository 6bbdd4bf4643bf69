"""Preprocessing as part of a module: for exports that take pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat.errors import ShapeError, UnsupportedError

if TYPE_CHECKING:
    from caffecompat.data.preprocessing import Preprocessing


class Embedded(nn.Module):
    """A module behind its preprocessing: order of channels, mean and scale. Resizing stays outside.

    Called with uint8 (N, H, W, 3) in the order R, G, B, at the size of the net's input, it calls the module
    with float32 (N, C, H, W). Grey is computed as OpenCV does, in integers.

    Raises:
        UnsupportedError: the net takes no pictures.
        ShapeError: the mean does not fit.
    """

    mean: Tensor | None

    def __init__(self, preprocessing: Preprocessing, module: nn.Module) -> None:
        super().__init__()
        if preprocessing.channels == "none":
            raise UnsupportedError(f'input "{preprocessing.input}" takes no picture: it has neither 1 nor 3 channels')
        self.channels = preprocessing.channels
        self.scale = float(np.float32(preprocessing.scale))
        mean = _mean_at_net_size(preprocessing)
        self.register_buffer("mean", None if mean is None else torch.from_numpy(mean))
        self.module = module

    def forward(self, images: Tensor, *others: Tensor) -> Any:
        """What the module returns for `images`, uint8 (N, H, W, 3) R, G, B; `others` are handed on as they are."""
        return self.module(self.prepare(images), *others)

    def prepare(self, images: Tensor) -> Tensor:
        """The net's input, float32 (N, C, H, W), for uint8 (N, H, W, 3) in the order R, G, B."""
        pixels = images.permute(0, 3, 1, 2)
        if self.channels == "gray":
            red, green, blue = torch.split(pixels.to(torch.int32), 1, dim=1)
            # OpenCV: 0.299 R + 0.587 G + 0.114 B in fixed point of 15 bits, rounded.
            pixels = (red * 9798 + green * 19235 + blue * 3735 + (1 << 14)) >> 15
        elif self.channels == "bgr":
            pixels = pixels.flip(1)
        values = pixels.to(torch.float32)
        if self.mean is not None:
            values = values - self.mean
        return values * self.scale if self.scale != 1.0 else values


def _mean_at_net_size(preprocessing: Preprocessing) -> np.ndarray[Any, np.dtype[np.float32]] | None:
    """The mean as (C or 1, 1 or H, 1 or W); of a mean image larger than the input, its middle."""
    if preprocessing.mean_image is None:
        channels = 1 if preprocessing.channels == "gray" else 3
        if len(preprocessing.mean) not in (0, 1, channels):
            raise ShapeError(f"expected one mean value or {channels}, one a channel, got {len(preprocessing.mean)}")
        values = np.asarray(preprocessing.mean, dtype=np.float32).reshape(-1, 1, 1)
        return values if values.size else None
    image = preprocessing.mean_image
    height, width = preprocessing.net_size or image.shape[1:]
    top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
    if top < 0 or left < 0:
        raise ShapeError(f"the mean image, {image.shape[1:]}, is smaller than the input, {(height, width)}")
    return np.ascontiguousarray(image[:, top : top + height, left : left + width])
