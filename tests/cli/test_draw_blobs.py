"""The pictures of blobs, and what a page says of a pass."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest
import torch

from caffecompat.cli.draw import blobs
from caffecompat.cli.draw.blobs import BAR_HEIGHT, SIDE, Gallery
from caffecompat.graph.spec import BlobKey
from tests.cli.pages import picture
from tests.cli.records import call
from tests.support import shared_file

KEY = BlobKey("b", 0)


def taken(values):
    gallery = Gallery()
    gallery.add(KEY, torch.as_tensor(values))
    return gallery.blobs[KEY]


def test_planes_of_a_feature_map():
    values = torch.zeros(2, 20, 4, 8)
    values[0, 5, :, 4:] = 3.0
    values[1] = 100.0
    found = taken(values)
    assert found.told == "from 0 to 100, mean 50.04, 49% zeros"
    assert found.caption == "channels 0 to 15 of 20, from black to white"
    pixels = picture(found.picture)[:, :, 0]
    assert pixels.shape == (4 * SIDE // 2 + 3 * 2, 4 * SIDE + 3 * 2)
    row = pixels[SIDE // 2 + 2 : SIDE + 2]
    assert (row[:, SIDE + 2 : SIDE + 2 + SIDE // 2] == 0).all()
    assert (row[:, SIDE + 2 + SIDE // 2 : 2 * SIDE + 2] == 255).all()
    assert (row[:, :SIDE] == 0).all()


def test_values_of_a_vector():
    found = taken([[0.0, 1.0, -1.0, 0.5]])
    assert found.told == "from -1 to 1, mean 0.125, 25% zeros"
    pixels = picture(found.picture)[:, :, 0]
    assert pixels.shape == (BAR_HEIGHT, 288)
    lengths = (pixels < 200).sum(0)[36::72]
    assert lengths[0] == 1
    assert lengths[1:].tolist() == pytest.approx([BAR_HEIGHT / 2, BAR_HEIGHT / 2, BAR_HEIGHT / 4], abs=1.5)
    assert (pixels[: BAR_HEIGHT // 2 - 1, 72:144] < 200).all(), "up where it is positive"
    spike = np.zeros((1, 5000), np.float32)
    spike[0, 2501] = 1
    assert (picture(taken(spike).picture)[0, :, 0] < 200).sum() == 1, "of many values none is lost"


def test_what_has_no_picture():
    for values in (torch.zeros(()), torch.zeros(3), torch.zeros(1, 1), torch.zeros(1, 2, 8), torch.zeros(0, 3, 4, 4)):
        assert taken(values).picture == ""
    assert taken(torch.zeros(0, 3)).told == "no values"
    found = taken([[1.0, float("nan"), float("inf"), 3.0]])
    assert found.told == "from 1 to 3, mean 2, 2 not finite"
    assert found.picture


def test_pictures_of_a_page_are_bounded(monkeypatch):
    monkeypatch.setattr(blobs, "MOST_LETTERS", 5000)
    gallery = Gallery()
    rng = np.random.default_rng(0)
    for index in range(30):
        gallery.add(BlobKey("b", index), torch.from_numpy(rng.random((1, 1, 12, 12), np.float32)))
    shown = [found for found in gallery.blobs.values() if found.picture]
    assert 1 < len(shown) < 30
    assert sum(len(found.picture) for found in shown) <= 5000


@pytest.mark.slow
def test_what_a_detector_finds(tmp_path):
    """A published detector of QR codes on a photograph, against the box that OpenCV recorded."""
    folder = shared_file("models/wechat_detect")
    photo = shared_file("photos/coffee_qr.png")
    options = ("-w", folder / "detect.caffemodel", "--input-shape", "1,1,256,384", "--scale", 1 / 255)
    (tmp_path / "names.txt").write_text("none\nQR code\n")
    options += ("--channels", "gray", "--labels", tmp_path / "names.txt")
    call("draw", folder / "detect.prototxt", *options, "--image", photo, "-o", tmp_path / "page.html")
    found = (tmp_path / "page.html").read_text()
    assert "QR code 1.00" in found
    assert "1 boxes" not in found
    assert "1 box with a score of 0.5 or more" in found
    picture = found.partition('<svg class="picture"')[2].partition("</svg>")[0]
    width, height = map(int, re.search(r'viewBox="0 0 (\d+) (\d+)"', picture).groups())
    place = re.search(r'<rect class="under" x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"', picture)
    left, top, wide, high = map(float, place.groups())
    with np.load(folder / "opencv_ref_coffee_qr.npz") as record:
        wanted = record["detection_output"][0, 0, 0, 3:] * [width, height, width, height]
    np.testing.assert_allclose([left, top, left + wide, top + high], wanted, atol=1)
    assert found.count("<article") == found.count('data-search="')
    assert found.count('<img src="data:image/png;base64,') > 100


# One prior box in the middle, which is an object of class 1 whatever the picture holds.
DETECTOR = """input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer { name: "loc" type: "Convolution" bottom: "data" top: "loc" convolution_param { num_output: 4 kernel_size: 8 } }
layer { name: "conf" type: "Convolution" bottom: "data" top: "conf" convolution_param {
  num_output: 2 kernel_size: 8 bias_filler { value: 0.75 } } }
layer { name: "places" type: "Flatten" bottom: "loc" top: "places" }
layer { name: "scores" type: "Flatten" bottom: "conf" top: "scores" }
layer { name: "prior" type: "PriorBox" bottom: "loc" bottom: "data" top: "prior" prior_box_param { min_size: 4 } }
layer { name: "found" type: "DetectionOutput" bottom: "places" bottom: "scores" bottom: "prior" top: "found"
  detection_output_param { num_classes: 2 nms_param { nms_threshold: 0.5 }
    save_output_param { label_map_file: "map.prototxt" } } }
"""


def test_boxes_have_the_names_of_the_label_map_that_the_net_states(tmp_path):
    net, page = tmp_path / "net.prototxt", tmp_path / "page.html"
    net.write_text(DETECTOR)
    cv2.imwrite(str(tmp_path / "picture.png"), np.zeros((16, 16, 3), np.uint8))
    options = ("--random-weights", "--image", tmp_path / "picture.png", "-o", page)
    assert "the label map cannot be read" in call("draw", net, *options).stderr
    assert "1 0.75" in page.read_text()
    (tmp_path / "map.prototxt").write_text('item { name: "n1" label: 1 display_name: "street lamp" }')
    call("draw", net, *options)
    assert "street lamp 0.75" in page.read_text()
    (tmp_path / "names.txt").write_text("nothing\ntree\n")
    call("draw", net, *options, "--labels", tmp_path / "names.txt")
    assert "tree 0.75" in page.read_text()


def test_a_picture_needs_weights_and_one_input(tmp_path):
    net = tmp_path / "net.prototxt"
    photo = shared_file("photos/astronaut.png")
    net.write_text(
        'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 } input: "size" input_shape { dim: 1 dim: 2 } '
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" } '
        'layer { name: "s" type: "ReLU" bottom: "size" top: "s" }'
    )
    target = ("--image", photo, "-o", tmp_path / "page.html")
    assert "--weights" in call("draw", net, *target, code=2).stderr
    assert '"size" is no picture' in call("draw", net, *target, "--random-weights", code=2).stderr.replace("'", '"')
    assert not (tmp_path / "page.html").exists()
