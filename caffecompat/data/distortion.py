"""Photometric distortion: brightness, contrast, saturation, hue, order of channels.

Source of the rules: ApplyDistort and what it calls, im_transforms.cpp of the SSD branch. Every operation rounds to
bytes, as the original's do.
"""

from __future__ import annotations

import cv2
import numpy as np

from caffecompat.data.images import Image
from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.schema import caffe_pb2

_BYTES = np.arange(256, dtype=np.float32)
# The planes of a picture in HSV.
_HUE, _SATURATION = 0, 1


def check_distortion(spec: LayerSpec) -> None:
    """Whether the `distort_param` of a layer can be used.

    Raises:
        SchemaError: a range is empty or negative.
    """
    param = spec.message.transform_param.distort_param
    for name in ("brightness_delta", "hue_delta"):
        if not 0 <= getattr(param, name) < np.inf:
            raise spec.error(
                f"distort_param: expected {name} of 0 or more, got {getattr(param, name)}", kind=SchemaError
            )
    for name in ("contrast", "saturation"):
        low, high = getattr(param, f"{name}_lower"), getattr(param, f"{name}_upper")
        if not 0 <= low <= high < np.inf:
            raise spec.error(
                f"distort_param: expected 0 <= {name}_lower <= {name}_upper, got {low} and {high}", kind=SchemaError
            )


def distort(image: Image, param: caffe_pb2.DistortionParameter, random: np.random.Generator) -> Image:
    """A picture in changed colours.

    Brightness comes first and the order of channels last; contrast comes second or, as often, last but one.

    Args:
        image: uint8 (height, width, 3); a grey one, (height, width), keeps its saturation, hue and order.
        param: how likely each change is, and how large.
        random: where the numbers come from.
    """
    contrast_first = random.random() > 0.5
    table = _brightness(param, random)
    if contrast_first:
        table = _joined(table, _contrast(param, random))
    image = _looked_up(image, table)
    if image.ndim == 3 and image.shape[2] == 3:
        if random.random() < param.saturation_prob:
            image = adjust_saturation(image, random.uniform(param.saturation_lower, param.saturation_upper))
        if random.random() < param.hue_prob:
            image = adjust_hue(image, random.uniform(-param.hue_delta, param.hue_delta))
    if not contrast_first:
        image = _looked_up(image, _contrast(param, random))
    if random.random() < param.random_order_prob and image.ndim == 3:
        image = image[:, :, random.permutation(image.shape[2])]
    return image


def _brightness(param: caffe_pb2.DistortionParameter, random: np.random.Generator) -> Image | None:
    if random.random() >= param.brightness_prob:
        return None
    return _brighter(random.uniform(-param.brightness_delta, param.brightness_delta))


def _contrast(param: caffe_pb2.DistortionParameter, random: np.random.Generator) -> Image | None:
    if random.random() >= param.contrast_prob:
        return None
    return _starker(random.uniform(param.contrast_lower, param.contrast_upper))


def adjust_brightness(image: Image, delta: float) -> Image:
    """Each value plus `delta`."""
    return _looked_up(image, _brighter(delta))


def adjust_contrast(image: Image, factor: float) -> Image:
    """Each value times `factor`; one within 0.001 of 1 changes nothing."""
    return _looked_up(image, _starker(factor))


def adjust_saturation(image: Image, factor: float) -> Image:
    """The saturation of a BGR picture times `factor`."""
    return _in_hsv(image, _SATURATION, _table(factor, 0.0))


def adjust_hue(image: Image, delta: float) -> Image:
    """The hue of a BGR picture plus `delta`, in OpenCV's units of two degrees."""
    return _in_hsv(image, _HUE, _table(1.0, delta)) if delta else image


def _in_hsv(image: Image, plane: int, table: Image) -> Image:
    """A BGR picture of which the hue or the saturation went through a table (256,)."""
    planes = list(cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV)))
    planes[plane] = cv2.LUT(planes[plane], table)
    return np.asarray(cv2.cvtColor(cv2.merge(planes), cv2.COLOR_HSV2BGR), np.uint8)


def _brighter(delta: float) -> Image | None:
    return _table(1.0, delta) if delta else None


def _starker(factor: float) -> Image | None:
    return _table(factor, 0.0) if abs(factor - 1) > 1e-3 else None


def _joined(first: Image | None, second: Image | None) -> Image | None:
    """The table that does what one does, and then another; None changes nothing."""
    if first is None or second is None:
        return second if first is None else first
    joined: Image = second[first]
    return joined


def _looked_up(image: Image, table: Image | None) -> Image:
    return image if table is None else np.asarray(cv2.LUT(image, table), np.uint8)


def _table(factor: float, delta: float) -> Image:
    """What each byte times `factor` plus `delta` is, rounded and kept between 0 and 255."""
    changed = np.rint(_BYTES * np.float32(factor) + np.float32(delta))
    return np.asarray(np.minimum(np.maximum(changed, 0), 255), np.uint8)
