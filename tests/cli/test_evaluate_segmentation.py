"""`caffecompat evaluate segmentation`: folders, lists and nets, against confusions worked through by hand."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from caffecompat.data.png import voc_palette, write_indexed
from tests.cli.records import call

TRUE = {"a": [[0, 0, 0, 1], [1, 1, 255, 2]], "b": [[2, 2], [2, 2]]}
FOUND = {"a": [[0, 0, 1, 1], [1, 0, 0, 2]], "b": [[2, 2], [2, 0]]}
# Class 0: 2 right, 3 true, 4 found; class 1: 2 right, 3 true, 3 found; class 2: 4 right, 5 true, 4 found.
IOU = [2 / 5, 2 / 4, 4 / 5]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "true").mkdir()
    (tmp_path / "found").mkdir()
    for name in TRUE:
        cv2.imwrite(str(tmp_path / "true" / f"{name}.png"), np.array(TRUE[name], np.uint8))
        write_indexed(tmp_path / "found" / f"{name}.png", np.array(FOUND[name]), voc_palette())
    return tmp_path


def test_folders(files):
    (files / "names.txt").write_text("ground\nroad\nsky\n")
    options = ("--labels", files / "names.txt", "--json", files / "x.json")
    result = call("evaluate", "segmentation", files / "found", "--truth", files / "true", *options)
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[:4] == [
        ["class", "name", "pixels", "found", "accuracy", "IoU"],
        ["0", "ground", "3", "4", "0.6667", "0.4000"],
        ["1", "road", "3", "3", "0.6667", "0.5000"],
        ["2", "sky", "5", "4", "0.8000", "0.8000"],
    ]
    mean = sum(IOU) / 3
    assert result.stdout.splitlines()[4] == f"mean IoU = {mean:.6g} (2 pictures, 11 pixels)"
    whole = json.loads((files / "x.json").read_text())
    assert whole["mean_IoU"] == pytest.approx(mean)
    assert whole["pixel_accuracy"] == pytest.approx(8 / 11)
    assert whole["mean_accuracy"] == pytest.approx((2 / 3 + 2 / 3 + 4 / 5) / 3)
    assert whole["frequency_weighted_IoU"] == pytest.approx((3 * 2 / 5 + 3 * 2 / 4 + 5 * 4 / 5) / 11)
    assert whole["confusion"] == [[2, 1, 0, 0], [1, 2, 0, 0], [1, 0, 4, 0]]
    assert whole["pictures"] == 2


def test_the_same_in_colours_from_lists(files):
    for name in FOUND:
        colours = np.array(voc_palette(), np.uint8)[np.array(FOUND[name])]
        cv2.imwrite(str(files / f"x_{name}.png"), colours[:, :, ::-1])
    (files / "found.txt").write_text("x_a.png x_b.png\n")
    (files / "true.txt").write_text(f"{files / 'true' / 'a.png'}\n{files / 'true' / 'b.png'}\n")
    arguments = ("evaluate", "segmentation", files / "found.txt", "--truth", files / "true.txt")
    result = call(*arguments, "--palette", "voc")
    assert result.stdout == call("evaluate", "segmentation", files / "found", "--truth", files / "true").stdout
    assert "got a picture in colours" in call(*arguments, code=1).stderr


def test_labels_that_do_not_count_and_classes(files):
    arguments = ("evaluate", "segmentation", files / "found", "--truth", files / "true")
    call(*arguments, "--ignore", 255, "--ignore", 2, "--json", files / "x.json")
    whole = json.loads((files / "x.json").read_text())
    assert [row["pixels"] for row in whole["classes"]] == [3, 3]
    # In b all is ignored, in a the pixel of class 2 and the void.
    assert [row["IoU"] for row in whole["classes"]] == pytest.approx([2 / 4, 2 / 4])
    call(*arguments, "--classes", 5, "--json", files / "x.json")
    whole = json.loads((files / "x.json").read_text())
    assert [row["IoU"] for row in whole["classes"][3:]] == [None, None]
    assert whole["mean_IoU"] == pytest.approx(sum(IOU) / 3)
    assert "labels from 0 to 1, or ignored ones, got 2" in call(*arguments, "--classes", 2, code=1).stderr


def test_what_counts(files):
    (files / "found" / "b.png").unlink()
    arguments = ("evaluate", "segmentation", files / "found", "--truth", files / "true")
    result = call(*arguments, code=1)
    assert "nothing belongs to 1 of 2 names" in result.stderr
    assert "such as b; --image-set" in result.stderr
    (files / "set.txt").write_text("a\n")
    assert "(1 pictures, 7 pixels)" in call(*arguments, "--image-set", files / "set.txt").stdout
    (files / "found.txt").write_text("found/a.png\n")
    listed = ("evaluate", "segmentation", files / "found.txt", "--truth")
    assert "(1 pictures, 7 pixels)" in call(*listed, files / "true").stdout
    (files / "true.txt").write_text("true/a.png true/b.png\n")
    assert "expected as many names" in call(*listed, files / "true.txt", code=1).stderr


def test_faults(files):
    arguments = ("evaluate", "segmentation", files / "found", "--truth", files / "true")
    assert "--batch goes with --net" in call(*arguments, "--batch", 2, code=2).stderr
    assert "is an input" in call(*arguments, "--json", files / "true" / "a.png", code=2).stderr
    write_indexed(files / "found" / "b.png", np.zeros((2, 3), int), voc_palette())
    error = call(*arguments, code=1).stderr
    assert "b.png: expected a result as large as its label map, 2x2, got 2x3" in error
    assert str(files / "true" / "b.png") in error
    (files / "found" / "b.png").write_bytes(b"no picture")
    assert "not an image" in call(*arguments, code=1).stderr


NET = """
name: "max" input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer { name: "same" type: "Power" bottom: "data" top: "same" power_param { scale: 1 } }
"""


def test_a_net(files):
    """Its classes are the channels: blue, green and red."""
    (files / "net.prototxt").write_text(NET)
    (files / "pictures").mkdir()
    (files / "label").mkdir()
    labels = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 3, (2, 2)), 4, 0), 4, 1).astype(np.uint8)
    cv2.imwrite(str(files / "pictures" / "p.png"), np.eye(3, dtype=np.uint8)[labels] * 200)
    wrong = labels.copy()
    wrong[0] = 255
    wrong[1] = (labels[1] + 1) % 3
    cv2.imwrite(str(files / "label" / "p.png"), wrong)
    net = ("--net", files / "net.prototxt", "--random-weights")
    arguments = ("evaluate", "segmentation", files / "pictures", "--truth", files / "label", *net)
    result = call(*arguments, "--json", files / "x.json")
    whole = json.loads((files / "x.json").read_text())
    assert np.trace(np.array(whole["confusion"])) == 48
    assert whole["pixel_accuracy"] == 48 / 56
    assert "(1 pictures, 56 pixels)" in result.stdout
    assert "no weights" in call(*arguments[:-1], code=2).stderr


def test_a_crf_cleans_what_a_net_says(files):
    """Its scores are the picture's own colours, which are noisy; the net's classes are blue, green and red."""
    (files / "net.prototxt").write_text(
        NET.replace("scale: 1", "scale: 0.02").replace("dim: 8 dim: 8", "dim: 32 dim: 32")
    )
    (files / "pictures").mkdir()
    (files / "label").mkdir()
    labels = np.repeat(np.repeat(np.array([[0, 1], [2, 0]]), 16, 0), 16, 1).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 60, (32, 32, 3))
    picture = np.clip(100 + 60 * np.eye(3)[labels] + noise, 0, 255).astype(np.uint8)
    cv2.imwrite(str(files / "pictures" / "p.png"), picture)
    cv2.imwrite(str(files / "label" / "p.png"), labels)
    arguments = ("evaluate", "segmentation", files / "pictures", "--truth", files / "label", "--json", files / "x.json")
    net = ("--net", files / "net.prototxt", "--random-weights")
    found = []
    for options in ((), ("--crf", "--crf-bilateral", "4,6,80")):
        call(*arguments, *net, *options)
        found.append(json.loads((files / "x.json").read_text())["pixel_accuracy"])
    assert found[0] < 0.7
    assert found[1] > 0.9
    assert "--crf goes with --net" in call(*arguments, "--crf", code=2).stderr
