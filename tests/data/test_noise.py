"""Noise, each kind by itself against OpenCV or by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from google.protobuf import text_format

from caffecompat.data.noise import add_noise, check_noise
from caffecompat.errors import SchemaError, ShapeError, UnsupportedError
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
from caffecompat.schema import caffe_pb2

PICTURE = cv2.resize(np.random.RandomState(0).randint(0, 256, (5, 7, 3)).astype(np.uint8), (42, 30))
GREY = PICTURE[:, :, 1].copy()


def noisy(image, text, seed=0):
    return add_noise(image, text_format.Parse(text, caffe_pb2.NoiseParameter()), np.random.default_rng(seed))


def lightness(image, change):
    turned = cv2.cvtColor(image, cv2.COLOR_BGR2YCrCb)
    turned[:, :, 0] = change(turned[:, :, 0].copy())
    return cv2.cvtColor(turned, cv2.COLOR_YCrCb2BGR)


def as_jpeg(image):
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], cv2.IMREAD_UNCHANGED)


CROSS = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], np.uint8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", lambda image: image),
        ("inverse: true", lambda image: 255 - image),
        ("posterize: true", lambda image: image // 64 * 64 + 32),
        ("gauss_blur: true", lambda image: cv2.GaussianBlur(image, (7, 7), 1.5)),
        ("erode: true", lambda image: cv2.erode(image, CROSS)),
        ("jpeg: 30", as_jpeg),
    ],
)
@pytest.mark.parametrize("image", [PICTURE, GREY], ids=["colour", "grey"])
def test_one_kind(text, expected, image):
    np.testing.assert_array_equal(noisy(image, text), expected(image))


def test_kinds_of_colour():
    grey = cv2.cvtColor(PICTURE, cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(noisy(PICTURE, "decolorize: true"), np.stack([grey] * 3, 2))
    np.testing.assert_array_equal(noisy(PICTURE, "hist_eq: true"), lightness(PICTURE, cv2.equalizeHist))
    np.testing.assert_array_equal(noisy(GREY, "hist_eq: true"), cv2.equalizeHist(GREY))
    clahe = cv2.createCLAHE(4).apply
    np.testing.assert_array_equal(noisy(PICTURE, "clahe: true"), lightness(PICTURE, clahe))
    np.testing.assert_array_equal(noisy(PICTURE, "convert_to_hsv: true"), cv2.cvtColor(PICTURE, cv2.COLOR_BGR2HSV))


def test_the_order():
    expected = 255 - (cv2.GaussianBlur(PICTURE, (7, 7), 1.5) // 64 * 64 + 32)
    np.testing.assert_array_equal(noisy(PICTURE, "inverse: true posterize: true gauss_blur: true"), expected)


def test_salt_and_pepper():
    text = "saltpepper: true saltpepper_param { fraction: 0.1 value: 1 value: 2 value: 300 }"
    found = noisy(np.full((40, 50, 3), 7, np.uint8), text)
    changed = (found != 7).any(2)
    assert 150 < changed.sum() <= 200
    np.testing.assert_array_equal(np.unique(found[changed], axis=0), [[1, 2, 255]])
    assert (noisy(GREY, "saltpepper: true saltpepper_param { fraction: 0.5 value: 9 }") == 9).mean() > 0.3
    with pytest.raises(ShapeError, match="expected one value or 3, got 2"):
        noisy(PICTURE, "saltpepper: true saltpepper_param { fraction: 0.1 value: 1 value: 2 }")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("convert_to_lab: true", UnsupportedError),
        ("saltpepper: true", SchemaError),
        ("saltpepper: true saltpepper_param { fraction: 2 value: 1 }", SchemaError),
        ("jpeg: 101", SchemaError),
    ],
)
def test_settings_that_make_no_sense(text, kind):
    net = f'layer {{ name: "d" type: "Data" top: "x" transform_param {{ noise_param {{ {text} }} }} }}'
    with pytest.raises(kind, match="noise_param"):
        check_noise(build_graph(parse_net(net), "TRAIN").layers[0])
