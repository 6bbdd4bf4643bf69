"""Images as caffe.io has them: float32 (height, width, channels), R, G, B, in [0, 1]."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from caffecompat.data.images import decode, read_encoded
from caffecompat.errors import ShapeError, UnsupportedError, UsageError
from caffecompat.pycaffe._resizing import warp, zoom

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

# scikit-image: rgb2gray, the luminance of today's screens.
_LUMINANCE = (0.2125, 0.7154, 0.0721)
# Those of other counts of channels are resized by another rule.
_PICTURES = (1, 3)


class ArrayError(ShapeError, ValueError):
    """An array has a shape that does not fit; a ValueError, too, as the original's is."""


def load_image(filename: str | os.PathLike[str], color: bool = True) -> Floats:
    """An image file, without its alpha channel, not turned as its EXIF orientation says.

    Args:
        filename: the file.
        color: give three channels, equal ones for a grey image; else one, colours by their luminance.

    Returns:
        float32 (height, width, 3), R, G, B, or (height, width, 1), in [0, 1].

    Raises:
        FormatError: there is no such file, or OpenCV cannot read it.
    """
    image = _unit(decode(read_encoded(filename), filename, cv2.IMREAD_UNCHANGED), Path(filename).suffix.lower())
    if image.ndim == 2 or image.shape[2] < 3:
        grey = image.reshape(*image.shape[:2], -1)[:, :, :1].astype(np.float32)
        return np.repeat(grey, 3, axis=2) if color else grey
    rgb = image[:, :, 2::-1]
    if color:
        return np.ascontiguousarray(rgb, np.float32)
    luminance: Array = rgb @ np.array(_LUMINANCE)
    return luminance[:, :, np.newaxis].astype(np.float32)


def _unit(image: Array, suffix: str) -> Array:
    """The numbers of an image file as fractions of the largest that their type has."""
    # Pillow keeps the upper byte of colours of 16 bits; TIFF files were read by another reader.
    if image.dtype == np.uint16 and image.ndim == 3 and suffix not in (".tif", ".tiff"):
        image = (image >> 8).astype(np.uint8)
    if np.issubdtype(image.dtype, np.integer):
        return image / np.iinfo(image.dtype).max
    return image


def resize_image(im: Array, new_dims: Sequence[float] | Array, interp_order: int = 1) -> Floats:
    """An image resized, without smoothing it before it is made smaller.

    With 1 or 3 channels pixels are areas, and what lies beyond the middle of a border pixel fades to the image's
    minimum (scikit-image, mode "constant", on values brought to [0, 1]); with other counts the corners stay corners
    (SciPy's zoom).

    Args:
        im: (height, width, channels) of any dtype.
        new_dims: (height, width) of the result.
        interp_order: 1 interpolates linearly, 0 takes the nearest pixel.

    Returns:
        float32 (*new_dims, channels).

    Raises:
        ArrayError: `im` has other axes than these three, or no pixel.
        UsageError: the new size is not at least 1x1.
        UnsupportedError: an order that the original knew besides.
    """
    if im.ndim != 3 or not im.size:
        raise ArrayError(f"expected an image (height, width, channels), got shape {im.shape}")
    size = (int(new_dims[0]), int(new_dims[1]))
    if min(size) < 1:
        raise UsageError(f"an image cannot be resized to {size[0]}x{size[1]}")
    if interp_order not in (0, 1):
        raise UnsupportedError(f"images are resized with interp_order 0 or 1, not {interp_order}")
    if im.shape[-1] not in _PICTURES:
        return zoom(im, size, interp_order).astype(np.float32)
    least = im.min()
    if least == im.max():
        return np.full((*size, im.shape[-1]), least, np.float32)
    least = float(least)
    return (warp(im.astype(np.float64) - least, size, interp_order) + least).astype(np.float32)


def oversample(images: Sequence[Array] | Array, crop_dims: Sequence[int] | Array) -> Floats:
    """The four corners and the centre of images, and each of these mirrored.

    Args:
        images: (height, width, channels) each, all of the first one's size.
        crop_dims: (height, width) of what is cut out.

    Returns:
        float32 (10 * images, *crop_dims, channels): for each image the corners (top left, top right, bottom left,
        bottom right), the centre, and the mirrored five.

    Raises:
        ArrayError: an image is smaller than the crop, or of another size than the first.
        UsageError: there is no image.
    """
    if not len(images):
        raise UsageError("expected one image or more, got none")
    height, width = int(crop_dims[0]), int(crop_dims[1])
    rows, columns = images[0].shape[:2]
    if rows < height or columns < width:
        raise ArrayError(f"a crop of {height}x{width} does not fit into an image of {rows}x{columns}")
    bottom, right = rows - height, columns - width
    # The original rounds the middle's first row down, and its last one as well.
    corners = [(0, 0), (0, right), (bottom, 0), (bottom, right), (bottom // 2, right // 2)]
    crops = []
    for image in images:
        if image.shape != images[0].shape:
            raise ArrayError(f"expected images of one shape, {images[0].shape}, got {image.shape}")
        views = [image[top : top + height, left : left + width] for top, left in corners]
        crops += views + [view[:, ::-1] for view in views]
    return np.stack(crops).astype(np.float32)
