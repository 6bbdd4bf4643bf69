"""Blobs on their way in and out, as OpenCV takes and shapes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from caffecompat.cv2dnn._nets import Array
from caffecompat.errors import UsageError, quoted
from caffecompat.graph.spec import LayerSpec

# An OpenCV Scalar has as many values, one for a channel.
SCALAR = 4


def blob_in(blob: Array, scale: float, mean: float | Sequence[float]) -> Tensor:
    """A copy of an input as the net takes it: float32, (blob - mean) * scale.

    Args:
        blob: an array of any real type.
        scale: the factor.
        mean: one value for each channel (axis 1), at most 4; channels without one, as in OpenCV, have 0, and a single
            number is that of the first channel.

    Raises:
        UsageError: it is no array of real numbers or has no values, or the mean does not fit it.
    """
    if not isinstance(blob, (np.ndarray, Tensor)):
        raise UsageError(f"setInput expects a NumPy array, got {type(blob).__name__}")
    array = np.asarray(blob)
    if array.dtype.kind not in "fiub" or array.size == 0:
        raise UsageError(f"setInput expects numbers, got an array of {array.dtype} and shape {array.shape}")
    values = np.array(array, dtype=np.float32, order="C")
    try:
        factor, means = float(scale), [float(value) for value in np.ravel(mean)]
    except (TypeError, ValueError):
        raise UsageError(f"expected numbers as scale and mean, got {quoted(scale)} and {quoted(mean)}") from None
    if any(means):
        values -= _by_channel(means, values.shape)
    if factor != 1.0:
        values *= np.float32(factor)
    return torch.from_numpy(values)


def _by_channel(means: list[float], shape: tuple[int, ...]) -> Array:
    if len(shape) < 2 or len(means) > SCALAR or shape[1] > SCALAR:
        raise UsageError(
            f"a mean of {quoted(means)} does not fit a blob of shape {shape}: at most {SCALAR} channels have one",
            hint="subtract the mean before, or give it to blobFromImage",
        )
    padded = (means + [0.0] * SCALAR)[: shape[1]]
    return np.array(padded, dtype=np.float32).reshape(1, -1, *(1 for _ in shape[2:]))


def blob_out(spec: LayerSpec, top: Tensor, images: int) -> Array:
    """A copy of a top in the shape that OpenCV gives it: never less than two axes.

    The rows of a DetectionOutput are followed by rows of zeros up to `keep_top_k` for each image; Caffe's row of -1
    for an image without detections is none of them.
    """
    array = top.numpy()
    keep = spec.message.detection_output_param.keep_top_k
    if spec.type == "DetectionOutput" and keep > 0:
        rows = array.reshape(-1, array.shape[-1])
        rows = rows[rows[:, 1] >= 0]
        padded = np.zeros((1, 1, max(images * keep, len(rows)), array.shape[-1]), dtype=np.float32)
        padded[0, 0, : len(rows)] = rows
        return padded
    if array.ndim < 2:
        array = array.reshape(-1, 1)
    return np.array(array, order="C")
