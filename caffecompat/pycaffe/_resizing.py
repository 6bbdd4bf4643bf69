"""Resizing as caffe.io did it: scikit-image's warp for 1 and 3 channels, SciPy's zoom for other counts.

Sources of the rules: skimage.transform.resize of versions up to 0.13 (mode "constant", no smoothing before images are
made smaller) and scipy.ndimage.zoom (corners stay corners). Both are separable: one axis after the other, in float64.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]


def warp(image: Array, size: tuple[int, int], order: int) -> Doubles:
    """Resize so that pixels are areas: what lies beyond the middle of the first or last pixel fades to 0.

    Args:
        image: (height, width, channels).
        size: (height, width) of the result.
        order: 1 interpolates linearly, 0 takes the nearest pixel.

    Returns:
        float64 (*size, channels).
    """
    resized = image.astype(np.float64)
    for axis, new in enumerate(size):
        scale = image.shape[axis] / new
        resized = _along(resized, axis, scale * (np.arange(new) + 0.5) - 0.5, order)
    return resized


def zoom(image: Array, size: tuple[int, int], order: int) -> Array:
    """Resize so that the first and last pixels stay where they are; arguments as those of `warp`.

    A place that rounding puts beyond the last pixel is 0, as it is in SciPy.

    Returns:
        (*size, channels) in the image's dtype; integers are rounded, halves away from zero.
    """
    resized = image.astype(np.float64)
    for axis, new in enumerate(size):
        old = image.shape[axis]
        places = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 1.0)
        resized = _along(resized, axis, places, order)
        resized[(slice(None),) * axis + (places > old - 1,)] = 0
    if not np.issubdtype(image.dtype, np.floating):
        resized = np.trunc(resized + np.copysign(0.5, resized))
    return resized.astype(image.dtype)


def _along(image: Doubles, axis: int, places: Doubles, order: int) -> Doubles:
    """The values at places along one axis; pixels outside are 0."""
    if order == 0:
        return _taken(image, axis, np.trunc(places + np.copysign(0.5, places)), np.ones(len(places)))
    first = np.floor(places)
    part = places - first
    return _taken(image, axis, first, 1 - part) + _taken(image, axis, first + 1, part)


def _taken(image: Doubles, axis: int, indices: Doubles, weights: Doubles) -> Doubles:
    """The pixels at indices along one axis, each times its weight; those outside are 0."""
    last = image.shape[axis] - 1
    inside = (indices >= 0) & (indices <= last)
    factors = np.where(inside, weights, 0.0).reshape(-1, *[1] * (image.ndim - axis - 1))
    taken: Doubles = image.take(indices.clip(0, last).astype(np.intp), axis) * factors
    return taken
