"""Photometric distortion: brightness, contrast, saturation, hue, order of channels.

Source of the rules: ApplyDistort and what it calls, im_transforms.cpp of the SSD branch. Every operation rounds to
bytes, as the original's do.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from caffecompat.data.images import Image, split
from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.schema import caffe_pb2

_BYTES = np.arange(256, dtype=np.float32)
# Whatever is added to bytes, or they are multiplied by: more than this changes nothing.
_MOST = 256.0
# A sum so close to the middle between two numbers is rounded byte by byte.
_MIDDLE = 1e-3
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
    if random.random() < param.brightness_prob:
        image = adjust_brightness(image, random.uniform(-param.brightness_delta, param.brightness_delta))
    if contrast_first:
        image = _contrast(image, param, random)
    if image.ndim == 3 and image.shape[2] == 3:
        if random.random() < param.saturation_prob:
            image = adjust_saturation(image, random.uniform(param.saturation_lower, param.saturation_upper))
        if random.random() < param.hue_prob:
            image = adjust_hue(image, random.uniform(-param.hue_delta, param.hue_delta))
    if not contrast_first:
        image = _contrast(image, param, random)
    if random.random() < param.random_order_prob and image.ndim == 3:
        image = image[:, :, random.permutation(image.shape[2])]
    return image


def _contrast(image: Image, param: caffe_pb2.DistortionParameter, random: np.random.Generator) -> Image:
    if random.random() >= param.contrast_prob:
        return image
    return adjust_contrast(image, random.uniform(param.contrast_lower, param.contrast_upper))


def adjust_brightness(image: Image, delta: float) -> Image:
    """Each value plus `delta`."""
    return _shifted(image, delta)


def adjust_contrast(image: Image, factor: float) -> Image:
    """Each value times `factor`; one within 0.001 of 1 changes nothing."""
    return _scaled(image, factor) if abs(factor - 1) > 1e-3 else image


def adjust_saturation(image: Image, factor: float) -> Image:
    """The saturation of a BGR picture times `factor`."""
    return _in_hsv(image, _SATURATION, lambda plane: _scaled(plane, factor))


def adjust_hue(image: Image, delta: float) -> Image:
    """The hue of a BGR picture plus `delta`, in OpenCV's units of two degrees."""
    return _in_hsv(image, _HUE, lambda plane: _shifted(plane, delta)) if delta else image


def _in_hsv(image: Image, plane: int, change: Callable[[Image], Image]) -> Image:
    """A BGR picture of which the hue or the saturation was changed."""
    planes = split(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2HSV), np.uint8))
    planes[plane] = change(planes[plane])
    return np.asarray(cv2.cvtColor(cv2.merge(list(planes)), cv2.COLOR_HSV2BGR), np.uint8)


def _scaled(image: Image, factor: float) -> Image:
    """Each byte times `factor`, rounded and at most 255."""
    return np.asarray(cv2.convertScaleAbs(image, alpha=min(factor, _MOST)), np.uint8).reshape(image.shape)


def _shifted(image: Image, delta: float) -> Image:
    """Each byte plus `delta`, summed in single precision, rounded and kept between 0 and 255."""
    if abs(delta % 1 - 0.5) < _MIDDLE:
        table = np.clip(np.rint(_BYTES + np.float32(delta)), 0, 255).astype(np.uint8)
        return np.asarray(cv2.LUT(image, table), np.uint8).reshape(image.shape)
    # One row of values, whatever the channels: OpenCV takes a number for each of up to four.
    values = image.reshape(len(image), -1)
    whole = round(max(-_MOST, min(delta, _MOST)))
    shifted = (cv2.add if whole > 0 else cv2.subtract)(values, np.full(4, abs(whole), np.float64))
    return np.asarray(shifted, np.uint8).reshape(image.shape)
