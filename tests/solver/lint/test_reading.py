"""What is read of each kind of source: how many items, which labels; and that no camera is switched on."""

from __future__ import annotations

import cv2
import h5py
import numpy as np
import pytest

from caffecompat.solver.lint import Asked, lint
from caffecompat.solver.lint.subject import read_subject
from caffecompat.solver.options import Options
from tests.solver.databases import pictures, write_lmdb

CLASSIFIER = """
layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""


@pytest.fixture
def images(tmp_path):
    for number in range(5):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((6, 5, 3), 10 * number, np.uint8))
    return tmp_path


def source(type_, text):
    """A data layer."""
    return f'layer {{ name: "data" type: "{type_}" top: "data" top: "label" {text} }}'


def net(folder, text):
    path = folder / "net.prototxt"
    path.write_text(text)
    return path


def looked_at(path, **asked):
    """What was read of the first data layer in TRAIN, and what was found."""
    given = Asked(Options(root=path.parent), phase="TRAIN", **asked)
    subject = read_subject(path, given)
    assert subject.train is not None
    return subject.train.read.get(0), {finding.rule: finding for finding in lint(path, given)}


def test_labels_of_a_list_are_all_looked_at(images):
    (images / "list").write_text("0.png 0\n1.png 1\n2.png 2\n3.png 4\n4.png 0\n")
    data = source("ImageData", 'image_data_param { source: "list" batch_size: 2 }')
    read, found = looked_at(net(images, data + CLASSIFIER))
    assert (read.shapes[0], read.count, read.looked, read.complete) == ((2, 3, 6, 5), 5, 5, True)
    assert dict(read.labels[1].counts) == {0: 2, 1: 1, 2: 1, 4: 1}
    assert found["label-range"].message == "record '3.png' of layer 'data' has label 4; classes are 0..2"
    assert found["label-range"].hint == 'num_output of layer "ip" must be 5 or more'


def test_labels_of_hdf5_files(tmp_path):
    for name, labels in (("a.h5", [0, 1, 2, 3]), ("b.h5", [0, 1])):
        with h5py.File(tmp_path / name, "w") as file:
            file["data"] = np.zeros((len(labels), 7), np.float32)
            file["label"] = np.array(labels, np.float32)
    (tmp_path / "list").write_text("a.h5\nb.h5\n")
    data = source("HDF5Data", 'hdf5_data_param { source: "list" batch_size: 4 }')
    read, found = looked_at(net(tmp_path, data + CLASSIFIER))
    assert (read.count, read.looked, read.complete) == (6, 4, False)
    assert "record 'a.h5#3' of layer 'data' has label 3" in found["label-range"].message


def test_label_maps(images):
    for number in range(2):
        cv2.imwrite(str(images / f"l{number}.png"), np.full((6, 5), 3 * number, np.uint8))
    (images / "images").write_text("0.png\n1.png\n")
    (images / "labels").write_text("l0.png\nl1.png\n")
    text = """
    layer { name: "data" type: "ImageLabelData" top: "data" top: "label" transform_param { crop_size: 4 }
      image_label_data_param { image_list_path: "images" label_list_path: "labels" batch_size: 2
      label_slice { dim: 4 dim: 4 stride: 1 stride: 1 offset: 0 offset: 0 } } }
    layer { name: "score" type: "Convolution" bottom: "data" top: "score"
      convolution_param { num_output: 3 kernel_size: 1 } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
    """
    read, found = looked_at(net(images, text))
    assert read.count == 2
    assert set(read.labels[1].counts) == {0.0, 3.0}
    assert "record '1.png' of layer 'data' has label 3" in found["label-range"].message
    assert found["label-range"].hint == 'num_output of layer "score" must be 4 or more'
    ignoring = text.replace('top: "loss" }', 'top: "loss" loss_param { ignore_label: 3 } }')
    assert "label-range" not in looked_at(net(images, ignoring))[1]


def test_so_many_records_of_a_database_are_looked_at(tmp_path):
    write_lmdb(tmp_path / "db", pictures(9, classes=4))
    data = source("Data", 'data_param { source: "db" batch_size: 2 backend: LMDB }')
    path = net(tmp_path, data + CLASSIFIER)
    read, found = looked_at(path, records=3)
    assert (read.count, read.looked, sorted(read.labels[1].counts)) == (9, 3, [0, 1, 2])
    assert "label-range" not in found
    read, found = looked_at(path)
    assert (read.looked, read.complete) == (9, True)
    assert "has label 3" in found["label-range"].message


def test_no_camera_is_switched_on(tmp_path, monkeypatch):
    def switched_on(*_):
        raise AssertionError("a camera was opened")

    monkeypatch.setattr(cv2, "VideoCapture", switched_on)
    data = source("VideoData", "video_data_param { video_type: WEBCAM } data_param { batch_size: 1 }")
    read, found = looked_at(net(tmp_path, data + CLASSIFIER))
    assert read is None
    assert set(found) == {"not-checked"}
