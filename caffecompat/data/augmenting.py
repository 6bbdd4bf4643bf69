"""What `transform_param` can do beside Caffe's: rescale pictures to a drawn size, shift their colours.

Sources of the rules: Simonyan, Zisserman: Very Deep Convolutional Networks, section 3.1 (the shorter side S is fixed,
or drawn from [256, 512] for each picture); Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep
Convolutional Neural Networks, section 4.1 (PCA colour shift).
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from caffecompat.data.geometry import MAX_PIXELS, Size, layout
from caffecompat.data.images import Image
from caffecompat.data.source import Floats
from caffecompat.errors import FormatError, SchemaError, ShapeError, UnsupportedError
from caffecompat.graph.spec import LayerSpec

OWN_FIELDS = ("rescale_param", "color_shift_param")
MAX_CHANNELS = 4
# Of ImageNet's pixels, their values up to 255 and their channels B, G, R; each vector a row (fb.resnet.torch).
_EIGENVALUES = (55.4625, 4.794, 1.1475)
_EIGENVECTORS = (-0.5836, -0.5808, -0.5675, -0.6948, -0.0045, 0.7192, 0.4203, -0.8140, 0.4009)


class Rescaler:
    """What `rescale_param` does: the shorter side of a picture becomes as long as is stated, or drawn between two.

    In TEST nothing is drawn: the side is the middle of the two, as the authors of VGG test.

    Args:
        spec: the layer.
        crop: what is cut out afterwards.

    Attributes:
        draws: whether a number is drawn for each picture.

    Raises:
        SchemaError: the lengths make no sense, or do not go with another parameter.
    """

    def __init__(self, spec: LayerSpec, crop: Size | None) -> None:
        transform = spec.message.transform_param
        param = transform.rescale_param
        low, high = param.min_side, param.max_side or param.min_side
        if not 1 <= low <= high <= math.isqrt(MAX_PIXELS):
            raise spec.error(
                f"rescale_param: expected min_side from 1, and max_side not below it, got {low} and {param.max_side}",
                hint="max_side may be left out: then every shorter side becomes min_side",
                kind=SchemaError,
            )
        if crop is None or max(crop) > low:
            raise spec.error(
                f"rescale_param: expected a crop that fits into {low}x{low}, got {'none' if crop is None else crop}",
                hint="pictures come out in different sizes: state a crop_size, at most min_side",
                kind=SchemaError,
            )
        for field in ("resize_param", "mean_file"):
            if transform.HasField(field):
                hint = "resize by one of the two" if field == "resize_param" else "state mean_value"
                raise spec.error(f"rescale_param does not go with {field}", hint=hint, kind=SchemaError)
        self.draws = low < high and spec.phase == "TRAIN"
        self._low, self._high = low, high

    def size(self, height: int, width: int, drawn: int) -> Size:
        """(height, width) that a picture of this size comes to.

        Args:
            height: its rows.
            width: its columns.
            drawn: a raw number; unused where nothing is drawn.

        Raises:
            ShapeError: too much would come of it.
        """
        count = self._high - self._low + 1
        side = self._low + drawn % count if self.draws else (self._low + self._high) // 2
        return layout(height, width, (side, side), "fit_small").size

    def __call__(self, image: Image, drawn: int) -> Image:
        """A picture (height, width) or (height, width, channels), resized (bilinear)."""
        channels = 1 if image.ndim == 2 else image.shape[2]
        if channels > MAX_CHANNELS:
            raise ShapeError(f"rescale_param resizes pictures of up to {MAX_CHANNELS} channels, got {channels}")
        size = self.size(image.shape[0], image.shape[1], drawn)
        if size == image.shape[:2]:
            return image
        try:
            return np.asarray(cv2.resize(image, size[::-1]), np.uint8)
        except cv2.error as error:
            raise FormatError(f"cannot resize to {size[0]}x{size[1]}: {error.err}") from error


class ColourShift:
    """What `color_shift_param` does in TRAIN: adds the principal components of colours, each by a drawn amount.

    To all pixels of a picture the same is added: the sum of the eigenvectors of the colours' covariance, each times its
    eigenvalue times a number from a normal distribution of mean 0 and deviation `std`.

    Args:
        spec: the layer.

    Raises:
        SchemaError: not three eigenvalues, and nine values of three eigenvectors, of which none is infinite.
    """

    def __init__(self, spec: LayerSpec) -> None:
        param = spec.message.transform_param.color_shift_param
        self._std = float(param.std)
        values = np.array(param.eigenvalue or _EIGENVALUES, np.float64)
        vectors = np.array(param.eigenvector or _EIGENVECTORS, np.float64)
        stated = bool(param.eigenvalue) + bool(param.eigenvector)
        if stated == 1 or len(values) != 3 or len(vectors) != 9:
            raise spec.error(
                "color_shift_param: expected 3 values of eigenvalue and 9 of eigenvector (three vectors, each for B, "
                f"G, R), or none, got {len(param.eigenvalue)} and {len(param.eigenvector)}",
                kind=SchemaError,
            )
        if not (0 <= self._std < math.inf and np.isfinite(values).all() and np.isfinite(vectors).all()):
            raise spec.error("color_shift_param: expected finite numbers, and std from 0", kind=SchemaError)
        self._parts = values[:, None] * vectors.reshape(3, 3)

    def shift(self, seed: int, channels: int) -> Floats:
        """What is added to the pixels of a picture, float32 (3, 1, 1): B, G, R.

        Args:
            seed: what the numbers are drawn by.
            channels: of the picture.

        Raises:
            ShapeError: it has not three.
        """
        if channels != 3:
            raise ShapeError(f"color_shift_param is for pictures of 3 channels, got {channels}")
        amounts = np.random.default_rng(seed).normal(0, self._std, 3)
        return (amounts @ self._parts).astype(np.float32)[:, None, None]


def refuse_own_fields(spec: LayerSpec) -> None:
    """Raise an UnsupportedError if a layer that does not heed these fields states one."""
    for field in OWN_FIELDS:
        if spec.message.transform_param.HasField(field):
            raise spec.error(
                f"transform_param: {spec.type} has no {field}",
                hint="Data, ImageData, AnnotatedData and VideoData have it",
                kind=UnsupportedError,
            )
