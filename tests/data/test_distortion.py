"""Changes of colour with their random numbers fixed, against answers worked out a value at a time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from google.protobuf import text_format

from caffecompat.data.distortion import (
    adjust_brightness,
    adjust_contrast,
    adjust_hue,
    adjust_saturation,
    check_distortion,
    distort,
)
from caffecompat.errors import SchemaError
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
from caffecompat.schema import caffe_pb2

PICTURE = np.random.RandomState(0).randint(0, 256, (9, 7, 3)).astype(np.uint8)


def clamp(value):
    return min(max(round(value), 0), 255)


def each(function, image):
    return np.array([[[function(int(v)) for v in pixel] for pixel in row] for row in image], np.uint8)


@pytest.mark.parametrize("delta", [-31.7, 0.0, 12.5, 32.0])
def test_brightness(delta):
    np.testing.assert_array_equal(
        adjust_brightness(PICTURE, delta), each(lambda v: clamp(np.float32(v) + np.float32(delta)), PICTURE)
    )


@pytest.mark.parametrize("factor", [0.5, 0.9995, 1.25, 1.5])
def test_contrast(factor):
    expected = PICTURE if factor == 0.9995 else each(lambda v: clamp(np.float32(v) * np.float32(factor)), PICTURE)
    np.testing.assert_array_equal(adjust_contrast(PICTURE, factor), expected)


@pytest.mark.parametrize("channels", [(), (1,), (2,), (3,), (4,), (5,)])
def test_every_byte_whatever_the_channels(channels):
    image = np.stack([np.arange(256, dtype=np.uint8)] * 5, 1)[None, :, : channels[0] if channels else 0]
    image = image if channels else np.arange(256, dtype=np.uint8)[None]
    random = np.random.default_rng(0)
    for delta in (*random.uniform(-40, 40, 200), 0.49999999, 3.4999998, -7.5000002, 1.5, -2.5, 300.0, -1e30, 1e30):
        sums = np.clip(np.rint(image.astype(np.float32) + np.float32(delta)), 0, 255)
        np.testing.assert_array_equal(adjust_brightness(image, delta), sums.astype(np.uint8))
    for factor in (*random.uniform(0, 3, 200), 0.0, 0.5, 2.5, 1e30):
        products = np.clip(np.rint(image.astype(np.float32) * np.float32(factor)), 0, 255)
        np.testing.assert_array_equal(adjust_contrast(image, factor), products.astype(np.uint8))


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.5])
def test_saturation(factor):
    hsv = cv2.cvtColor(PICTURE, cv2.COLOR_BGR2HSV)
    hsv[:, :, 1] = [[clamp(np.float32(v) * np.float32(factor)) for v in row] for row in hsv[:, :, 1]]
    np.testing.assert_array_equal(adjust_saturation(PICTURE, factor), cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR))


@pytest.mark.parametrize("delta", [-18.0, 0.0, 7.4, 18.0])
def test_hue(delta):
    hsv = cv2.cvtColor(PICTURE, cv2.COLOR_BGR2HSV)
    hsv[:, :, 0] = [[clamp(np.float32(v) + np.float32(delta)) for v in row] for row in hsv[:, :, 0]]
    expected = PICTURE if delta == 0 else cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)
    np.testing.assert_array_equal(adjust_hue(PICTURE, delta), expected)


class Fixed:
    """Numbers in place of random ones."""

    def __init__(self, *numbers):
        self.numbers = list(numbers)

    def random(self):
        return self.numbers.pop(0)

    def uniform(self, low, high):
        return low + (high - low) * self.numbers.pop(0)

    def permutation(self, count):
        return np.array(self.numbers.pop(0))


PARAM = text_format.Parse(
    """brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5 contrast_lower: 0.5 contrast_upper: 1.5
       hue_prob: 0.5 hue_delta: 18 saturation_prob: 0.5 saturation_lower: 0.5 saturation_upper: 1.5
       random_order_prob: 0.5""",
    caffe_pb2.DistortionParameter(),
)


def test_contrast_second():
    random = Fixed(0.6, 0.1, 0.75, 0.1, 0.25, 0.1, 1.0, 0.1, 0.0, 0.1, [2, 0, 1])
    expected = adjust_contrast(adjust_brightness(PICTURE, 16.0), 0.75)
    expected = adjust_hue(adjust_saturation(expected, 1.5), -18.0)[:, :, [2, 0, 1]]
    np.testing.assert_array_equal(distort(PICTURE, PARAM, random), expected)
    assert not random.numbers


def test_contrast_last():
    random = Fixed(0.4, 0.1, 0.75, 0.1, 1.0, 0.1, 0.0, 0.1, 0.25, 0.9)
    expected = adjust_hue(adjust_saturation(adjust_brightness(PICTURE, 16.0), 1.5), -18.0)
    np.testing.assert_array_equal(distort(PICTURE, PARAM, random), adjust_contrast(expected, 0.75))
    assert not random.numbers


def test_nothing_is_drawn():
    np.testing.assert_array_equal(distort(PICTURE, PARAM, Fixed(0.6, 0.9, 0.9, 0.9, 0.9, 0.9)), PICTURE)


def test_a_grey_picture_keeps_what_it_has_none_of():
    grey = PICTURE[:, :, 0].copy()
    random = Fixed(0.6, 0.1, 0.75, 0.1, 0.25, 0.1)
    np.testing.assert_array_equal(distort(grey, PARAM, random), adjust_contrast(adjust_brightness(grey, 16.0), 0.75))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("brightness_delta: -1", "expected brightness_delta of 0 or more, got -1.0"),
        ("contrast_lower: 2 contrast_upper: 1", "contrast_lower <= contrast_upper, got 2.0 and 1.0"),
        ("saturation_lower: -0.5", "0 <= saturation_lower"),
        ("hue_delta: inf", "hue_delta"),
    ],
)
def test_settings_that_make_no_sense(text, message):
    net = f'layer {{ name: "d" type: "AnnotatedData" top: "x" transform_param {{ distort_param {{ {text} }} }} }}'
    with pytest.raises(SchemaError, match=message):
        check_distortion(build_graph(parse_net(net), "TRAIN").layers[0])
