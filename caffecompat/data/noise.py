"""Noise: what `noise_param` does to a resized picture.

Source of the rules: ApplyNoise, im_transforms.cpp of the SSD branch; as there, its `prob` is not asked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from caffecompat.data.images import Image
from caffecompat.errors import SchemaError, ShapeError, UnsupportedError
from caffecompat.graph.spec import LayerSpec
from caffecompat.schema import caffe_pb2

_BLUR_SIZE, _BLUR_SIGMA = (7, 7), 1.5
_CLIP_LIMIT = 4
# Posterize keeps four levels.
_STEP = 64


def check_noise(spec: LayerSpec) -> None:
    """Whether the `noise_param` of a layer can be used.

    Raises:
        UnsupportedError: `convert_to_lab`, after which the original reads floats as bytes.
        SchemaError: values that make no sense.
    """
    param = spec.message.transform_param.noise_param
    if param.convert_to_lab:
        raise spec.error(
            "noise_param: convert_to_lab makes a picture of floats, which the original then reads as bytes",
            hint="take it out",
            kind=UnsupportedError,
        )
    salt = param.saltpepper_param
    if param.saltpepper and not (0 <= salt.fraction <= 1 and salt.value):
        raise spec.error(
            "noise_param: saltpepper needs a saltpepper_param with a fraction from 0 to 1 and a value", kind=SchemaError
        )
    if param.jpeg > 100:
        raise spec.error(f"noise_param: expected jpeg up to 100, got {param.jpeg}", kind=SchemaError)


def add_noise(image: Image, param: caffe_pb2.NoiseParameter, random: np.random.Generator) -> Image:
    """A picture after all that the parameter asks for, in the original's order.

    Args:
        image: uint8 (height, width) or (height, width, 3).
        param: what to do.
        random: where the places of `saltpepper` come from.

    Raises:
        ShapeError: as many values as neither one nor the picture's channels.
    """
    colour = image.ndim == 3
    if param.decolorize and colour:
        image = _array(cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR))
    if param.gauss_blur:
        image = _array(cv2.GaussianBlur(image, _BLUR_SIZE, _BLUR_SIGMA))
    if param.hist_eq:
        image = _lightness(image, cv2.equalizeHist)
    if param.clahe:
        image = _lightness(image, cv2.createCLAHE(_CLIP_LIMIT).apply)
    if param.jpeg > 0:
        _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(param.jpeg)])
        image = _array(cv2.imdecode(encoded, cv2.IMREAD_COLOR if colour else cv2.IMREAD_GRAYSCALE))
    if param.erode:
        image = _array(cv2.erode(image, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3), (1, 1))))
    if param.posterize:
        image = image // np.uint8(_STEP) * np.uint8(_STEP) + np.uint8(_STEP // 2)
    if param.inverse:
        image = ~image
    if param.saltpepper:
        image = _salted(image, param.saltpepper_param, random)
    if param.convert_to_hsv and colour:
        image = _array(cv2.cvtColor(image, cv2.COLOR_BGR2HSV))
    return image


def _array(image: object) -> Image:
    return np.asarray(image, np.uint8)


def _lightness(image: Image, change: Callable[[Image], Any]) -> Image:
    """The picture with its lightness (the Y of YCrCb), or a grey one itself, changed."""
    if image.ndim == 2:
        return _array(change(image))
    planes = list(cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)))
    planes[0] = change(_array(planes[0]))
    return _array(cv2.cvtColor(cv2.merge(planes), cv2.COLOR_YCrCb2BGR))


def _salted(image: Image, param: caffe_pb2.SaltPepperParameter, random: np.random.Generator) -> Image:
    """Some pixels, drawn with replacement, take the value."""
    height, width = image.shape[:2]
    channels = image.shape[2] if image.ndim == 3 else 1
    if len(param.value) not in (1, channels):
        raise ShapeError(f"saltpepper_param: expected one value or {channels}, got {len(param.value)}")
    count = int(np.floor(np.float32(param.fraction) * width * height))
    value = np.clip(np.array(param.value), 0, 255).astype(np.uint8)
    salted: Image = image.copy()
    salted[random.integers(height, size=count), random.integers(width, size=count)] = (
        value if image.ndim == 3 else value[0]
    )
    return salted
