"""`draw --priors`: counts, and boxes against those worked out by hand from the paper's sizes."""

from __future__ import annotations

import math
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from tests.cli.drawings import SVG, texts
from tests.cli.pages import Page, check_self_contained
from tests.cli.records import call
from tests.support import shared_file

NET = """
name: "small"
input: "data" input_shape { dim: 1 dim: 3 dim: 60 dim: 80 }
layer { name: "f" type: "Pooling" bottom: "data" top: "f" pooling_param { kernel_size: 20 stride: 20 } }
layer { name: "g" type: "Pooling" bottom: "f" top: "g" pooling_param { global_pooling: true } }
layer { name: "pf" type: "PriorBox" bottom: "f" bottom: "data" top: "pf"
  prior_box_param { min_size: 16 max_size: 25 aspect_ratio: 4 flip: false step: 20 variance: 0.1 } }
layer { name: "pg" type: "PriorBox" bottom: "g" bottom: "data" top: "pg"
  prior_box_param { min_size: 50 clip: true variance: 0.1 } }
"""


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


@pytest.fixture
def picture(tmp_path):
    """160x240: the net's input is 60x80."""
    path = tmp_path / "picture.png"
    cv2.imwrite(str(path), np.full((240, 160, 3), (40, 160, 90), np.uint8))
    return path


def page(tmp_path, net, *options):
    call("draw", net, "--priors", "-o", tmp_path / "priors.html", *options)
    found = Page((tmp_path / "priors.html").read_text().replace("<g", "<div").replace("</g>", "</div>"))
    check_self_contained(found)
    return found


def tables(found):
    """Of each table the widths and heights in the picture, and the corners."""
    return [[[float(cell) for cell in (*row[2:4], *row[5:])] for row in rows[1:]] for rows in found.tables]


def test_ssd300(tmp_path):
    found = page(tmp_path, shared_file("prototxt/ssd/SSD300_VOC0712/deploy.prototxt"), "--at", "100,40")
    assert "8,732 prior boxes in 6 layers." in found.texts
    counts = ("5,776", "2,166", "600", "150", "36", "4")
    for cells, count in zip(("38x38", "19x19", "10x10", "5x5", "3x3", "1x1"), counts, strict=True):
        assert any(text.startswith(f"{cells} cells x ") and f"= {count} priors." in text for text in found.texts)
    boxes = tables(found)
    assert [len(rows) for rows in boxes] == [4, 6, 6, 6, 4, 4]
    # conv4_3: step 8, so that column 12 is at 12.5 * 8 = 100 and row 4 at 36; sizes 30 and sqrt(30 * 60).
    root = math.sqrt(2)
    sides = [(30, 30), (30 * root, 30 * root), (30 * root, 30 / root), (30 / root, 30 * root)]
    wanted = [(w, h, 100 - w / 2, 36 - h / 2, 100 + w / 2, 36 + h / 2) for w, h in sides]
    np.testing.assert_allclose(boxes[0], wanted, atol=0.011)
    # conv9_2: one cell, in the middle.
    np.testing.assert_allclose(boxes[5][0], (264, 264, 18, 18, 282, 282), atol=0.011)
    np.testing.assert_allclose(boxes[5][1][:2], [math.sqrt(264 * 315)] * 2, rtol=1e-3)


def test_in_pixels_of_the_picture(tmp_path, net, picture):
    """Twice as wide as the input, four times as high; a clipped box ends at the edge."""
    found = page(tmp_path, net, "--image", picture)
    assert "13 x" not in " ".join(found.texts)
    assert "3x4 cells x 3 = 36 priors." in " ".join(found.texts)
    assert "37 prior boxes in 2 layers." in found.texts
    first, second = tables(found)
    # The middle of the picture is x 80, between columns 1 (at 60) and 2 (at 100), and y 120, row 1.
    middles = {(row[2] + row[4]) / 2 for row in first}
    assert middles <= {60.0, 100.0}
    x = middles.pop()
    sides = [(32, 64), (40, 80), (64, 32)]
    wanted = [(w, h, x - w / 2, 120 - h / 2, x + w / 2, 120 + h / 2) for w, h in sides]
    np.testing.assert_allclose(first, wanted, atol=0.011)
    np.testing.assert_allclose(second, [(100, 200, 30, 20, 130, 220)], atol=0.011)


def test_clipped_boxes(tmp_path, net):
    net.write_text(NET.replace("min_size: 50", "min_size: 70"))
    (_, second) = tables(page(tmp_path, net))
    np.testing.assert_allclose(second, [(70, 70, 5, 0, 75, 60)], atol=0.011)


def test_svg_and_png(tmp_path, net, picture):
    call("draw", net, "--priors", "--image", picture, "-o", tmp_path / "priors.svg")
    root = ElementTree.parse(tmp_path / "priors.svg").getroot()
    said = texts(root)
    assert "37 prior boxes in 2 layers, those of one cell each, in pixels of the picture, 160x240" in said
    assert "3x4 cells x 3 = 36 priors" in said
    assert {"32 x 64", "40 x 80", "64 x 32"} <= set(said)
    panel = root.findall(f"{SVG}g")[1]
    edge, *boxes = [
        [float(box.get(name)) for name in ("x", "y", "width", "height")]
        for box in panel.iter(f"{SVG}rect")
        if box.get("class") == "edge" or box.get("class").startswith("prior")
    ]
    assert edge[2] / edge[3] == pytest.approx(160 / 240, rel=0.01)
    scale = edge[2] / 160
    for box, (width, height) in zip(boxes, [(32, 64), (40, 80), (64, 32)], strict=True):
        assert (box[2] / scale, box[3] / scale) == (pytest.approx(width, abs=0.5), pytest.approx(height, abs=0.5))
        assert (box[1] + box[3] / 2 - edge[1]) / scale == pytest.approx(120, abs=0.5)
    (image, _) = root.iter(f"{SVG}image")
    assert image.get("href").startswith("data:image/jpeg;base64,")
    call("draw", net, "--priors", "--image", picture, "-o", tmp_path / "priors.png")
    pixels = cv2.imread(str(tmp_path / "priors.png"))
    inside = pixels[round(2 * (edge[1] + edge[3] - 4)), round(2 * (edge[0] + 5))]
    assert abs(inside.astype(int) - (40, 160, 90)).max() < 30
    for colour in ((196, 100, 35), (27, 68, 200), (80, 161, 18)):
        assert (abs(pixels.astype(int) - colour).max(2) < 12).any(), "each box in its colour"


def test_faults(tmp_path, net, picture):
    target = ("-o", tmp_path / "priors.svg")
    assert "not in the picture" in call("draw", net, "--priors", "--at", "80,10", *target, code=2).stderr
    plain = tmp_path / "plain.prototxt"
    plain.write_text(NET.partition('layer { name: "pf"')[0])
    assert "no PriorBox layer" in call("draw", plain, "--priors", *target, code=1).stderr
    net.write_text(NET.replace('bottom: "g" bottom: "data"', 'bottom: "g" bottom: "f"'))
    assert "different sizes" in call("draw", net, "--priors", *target, code=1).stderr
    net.write_text(NET.replace("min_size: 50", ""))
    assert "min_size" in call("draw", net, "--priors", *target, code=1).stderr
    assert not (tmp_path / "priors.svg").exists()
