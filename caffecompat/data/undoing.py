"""Pictures back from what a data layer made of them: DataTransformer::TransformInv of the SSD branch."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from caffecompat.data.images import Image
from caffecompat.data.resizing import Resizer
from caffecompat.data.source import Floats
from caffecompat.data.transform_settings import mean_image
from caffecompat.errors import ShapeError
from caffecompat.graph.spec import LayerSpec


class Untransformer:
    """Undoes the scale and the mean that a layer's `transform_param` states, then resizes as it says.

    A picture smaller than the mean image was cropped: its mean is the middle, as it is for every crop in phase TEST.

    Args:
        spec: the layer; its `transform_param` describes what was done, but for `resize_param`, which is done now.
        root: the folder that a relative `mean_file` starts from; None is the working directory.

    Raises:
        CaffeCompatError: the parameters make no sense, or the mean cannot be read.
    """

    def __init__(self, spec: LayerSpec, root: Path | None = None) -> None:
        param = spec.message.transform_param
        self._spec = spec
        if not np.isfinite(param.scale) or param.scale == 0:
            raise spec.error(f"transform_param: expected a scale that is a finite number but 0, got {param.scale}")
        self._scale = np.float32(param.scale)
        self._mean = mean_image(spec, root)
        if self._mean is None and param.mean_value:
            self._mean = np.array(param.mean_value, np.float32)[:, None, None]
        self._resizer = Resizer(param.resize_param, spec) if param.HasField("resize_param") else None

    def __call__(self, values: Floats) -> Image:
        """The picture, uint8 (height, width, 3) B, G, R.

        Args:
            values: (1 or 3, height, width), what the net is given.

        Raises:
            ShapeError: they are no picture, or of another size than the mean.
        """
        if values.ndim != 3 or values.shape[0] not in (1, 3):
            raise self._spec.error(f"expected pictures of 1 or 3 channels, got shape {values.shape}", kind=ShapeError)
        plain = values / self._scale
        if self._mean is not None:
            try:
                mean = np.broadcast_to(_middle(self._mean, plain.shape), plain.shape)
            except ValueError:
                raise self._spec.error(
                    f"the mean has shape {self._mean.shape}, the picture {plain.shape}", kind=ShapeError
                ) from None
            plain = plain + mean
        # The original cuts fractions off, which single precision would let fall one short.
        pixels = np.clip(np.rint(np.nan_to_num(plain)), 0, 255).astype(np.uint8).transpose(1, 2, 0)
        picture = np.ascontiguousarray(pixels)
        if self._resizer is not None:
            picture = self._resizer(picture)
        if picture.ndim == 2 or picture.shape[2] == 1:
            return np.asarray(cv2.cvtColor(picture, cv2.COLOR_GRAY2BGR), np.uint8)
        return picture


def _middle(mean: Floats, shape: tuple[int, ...]) -> Floats:
    """The part of a mean image (C, H, W) that a crop of this shape leaves."""
    height, width = mean.shape[1:]
    rows, columns = shape[1:]
    if height < rows or width < columns:
        return mean
    top, left = (height - rows) // 2, (width - columns) // 2
    return mean[:, top : top + rows, left : left + columns]
