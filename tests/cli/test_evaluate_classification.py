"""`caffecompat evaluate classification`: a net of digits, and views that must agree."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from caffecompat.cli.evaluate._ranking import Tops, ranks
from caffecompat.cli.evaluate._views import Asked, views
from caffecompat.cli.predict._session import Session
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import ShapeError, UnsupportedError
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
from caffecompat.net import Net
from caffecompat.schema import caffe_pb2
from tests.cli.records import call, write_lmdb
from tests.support import shared_file

# Without pads, and of stride 4 in all: of a picture of 8 + 4n pixels the crops of 8 at each fourth are all places.
NET = """
name: "small" input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1"
  convolution_param { num_output: 5 kernel_size: 2 stride: 2 weight_filler { type: "gaussian" std: 0.02 } } }
layer { name: "r1" type: "ReLU" bottom: "c1" top: "c1" }
layer { name: "p1" type: "Pooling" bottom: "c1" top: "p1" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "f1" type: "InnerProduct" bottom: "p1" top: "f1"
  inner_product_param { num_output: 7 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "f2" type: "InnerProduct" bottom: "f1" top: "f2"
  inner_product_param { num_output: 4 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "prob" type: "Softmax" bottom: "f2" top: "prob" }
"""


@pytest.fixture(scope="module")
def session():
    torch.manual_seed(5)
    net = Net(build_graph(parse_net(NET)))
    net.fill()
    return Session(net.eval(), Preprocessing(mean=(90.0, 100.0, 110.0), size=(8, 8)), torch.device("cpu"))


def scores(session, image, kind, scales=(), grid=5, flip=None, batch=7):
    asked = Asked((kind,), scales, grid, flip)
    return [view.scores([image])[0] for view in views(session, "prob", asked, batch)]


def image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("flip", [False, True])
def test_dense_is_the_mean_of_all_crops(session, flip):
    """Of a picture whose shorter side is 20 already, and so is not resized, and whose longer side is 20 too."""
    picture = image(20, 20)
    (dense,) = scores(session, picture, "dense", (20,), flip=flip)
    (grid,) = scores(session, picture, "grid", (20,), grid=4, flip=flip)
    np.testing.assert_allclose(dense, grid, atol=1e-6)
    (other,) = scores(session, picture, "grid", (20,), grid=3, flip=flip)
    assert abs(other - grid).max() > 1e-3
    assert dense.sum() == pytest.approx(1, abs=1e-5)


def test_dense_takes_pictures_of_any_size(session):
    """8 x 12: places at columns 0 and 4."""
    picture = image(8, 12)
    (dense,) = scores(session, picture, "dense", (8,), flip=False)
    left, right = (
        session.pictures(session.preprocessing.apply([np.ascontiguousarray(picture[:, start : start + 8])]))["prob"][0]
        for start in (0, 4)
    )
    np.testing.assert_allclose(dense, (left + right) / 2, atol=1e-6)


def test_grids_and_single_crops(session):
    picture = image(11, 16)
    values = [
        session.preprocessing.apply([np.ascontiguousarray(picture[top : top + 8, left : left + 8])])
        for top in (0, 1, 3)
        for left in (0, 4, 8)
    ]
    crops = np.concatenate(values)
    both = np.concatenate([crops, crops[:, :, :, ::-1]])
    expected = session.pictures(both)["prob"].mean(0)
    (found,) = scores(session, picture, "grid", (11,), grid=3)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    (found,) = scores(session, picture, "single", (11,))
    np.testing.assert_allclose(found, session.pictures(crops[4:5])["prob"][0], atol=1e-6)


def test_scales_resize_the_shorter_side(session):
    picture = image(40, 60)
    first, second = scores(session, picture, "grid", (8, 16), grid=2)
    small = cv2.resize(picture, (12, 8), interpolation=cv2.INTER_LINEAR)
    large = cv2.resize(picture, (24, 16), interpolation=cv2.INTER_LINEAR)
    for found, resized in ((first, small), (second, large)):
        (expected,) = scores(session, resized, "grid", (min(resized.shape[:2]),), grid=2)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_views_that_cannot_be(session):
    with pytest.raises(ShapeError, match="--scales 7: crops of 8x8 do not fit\n.*scales of 8 or more"):
        scores(session, image(9, 9), "grid", (7,))
    text = NET.replace('bottom: "p1" top: "f1"', 'bottom: "flat" top: "f1"')
    flat = 'layer { name: "flat" type: "Flatten" bottom: "p1" top: "flat" } layer { name: "f1"'
    net = Net(build_graph(parse_net(text.replace('layer { name: "f1"', flat))))
    net.fill()
    made = Session(net.eval(), session.preprocessing, torch.device("cpu"))
    with pytest.raises(UnsupportedError, match="expected a bottom of four axes"):
        scores(made, image(9, 9), "dense")


def test_ranks_by_hand():
    found = ranks(np.array([[0.1, 0.7, 0.2], [0.4, 0.2, 0.4], [0.3, 0.3, 0.4], [np.nan] * 3]), np.array([1, 1, 0, 2]))
    assert found.tolist() == [0, 2, 2, 2]
    with pytest.raises(ShapeError, match="labels from 0 to 2, got 3"):
        ranks(np.zeros((1, 3)), np.array([3]))
    tops = Tops(2)
    tops.add(np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.1, 0.7, 0.2]]), np.array([0, 1, 2]))
    assert (tops.items, tops.first, tops.among) == (3, 1 / 3, 2 / 3)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """100 digits of MNIST: in folders by class, in a list, and in a database."""
    data = np.load(shared_file("data/mnist_10000.npz"))
    pictures, labels = (data[name] for name in data.files[:2])
    pictures, labels = pictures.reshape(-1, 28, 28)[:100].astype(np.uint8), labels.ravel()[:100]
    folder = tmp_path_factory.mktemp("digits")
    records, lines = [], []
    for index, (picture, label) in enumerate(zip(pictures, labels.tolist(), strict=True)):
        path = folder / "classes" / f"digit {label}" / f"{index:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture)
        lines.append(f"{path.relative_to(folder)} {label}\n")
        datum = caffe_pb2.Datum(channels=1, height=28, width=28, data=picture.tobytes(), label=label)
        if index % 2:
            datum = caffe_pb2.Datum(data=path.read_bytes(), encoded=True, label=label)
        records.append((f"{index:08d}".encode(), datum.SerializeToString()))
    (folder / "list.txt").write_text("".join(lines))
    write_lmdb(folder / "lmdb", records)
    return folder


def evaluate(data, *options, code=0):
    model = shared_file("models/lenet_v1/lenet.prototxt")
    weights = shared_file("models/lenet_v1/lenet_iter_10000.caffemodel")
    arguments = (model, "-w", weights, data, "--scale", 0.00390625, *options)
    return call("evaluate", "classification", *arguments, code=code)


def test_digits_in_three_forms(digits, tmp_path):
    outputs = [evaluate(digits / name, "--batch", 8, "--top", 2) for name in ("classes", "list.txt", "lmdb")]
    assert len({result.stdout for result in outputs}) == 1
    lines = [line.split() for line in outputs[0].stdout.splitlines()]
    assert lines[0] == ["crops", "scale", "each", "pictures", "top-1", "top-2"]
    assert lines[1][:3] == ["single", "1", "100"]
    evaluate(digits / "lmdb", "--top", 2, "--json", tmp_path / "x.json")
    (row,) = json.loads((tmp_path / "x.json").read_text())["results"]
    tested = call(
        *("classify", shared_file("models/lenet_v1/lenet.prototxt")),
        *("-w", shared_file("models/lenet_v1/lenet_iter_10000.caffemodel"), digits / "classes"),
        *("--scale", 0.00390625, "--top", 2, "--format", "jsonl"),
    )
    top = [json.loads(line) for line in tested.stdout.splitlines()]
    truth = [int(Path(one["image"]).parent.name[-1]) for one in top]
    firsts = [one["top"][0]["class"] == label for one, label in zip(top, truth, strict=True)]
    among = [label in [row["class"] for row in one["top"]] for one, label in zip(top, truth, strict=True)]
    assert row["top-1"] == np.mean(firsts) > 0.9
    assert row["top-2"] == np.mean(among)


def test_several_views(digits, tmp_path):
    (tmp_path / "few.txt").write_text("".join((digits / "list.txt").read_text().splitlines(keepends=True)[:6]))
    options = ("--root", digits, "--crops", "ten,dense", "--scales", "28,36", "--json", tmp_path / "x.json")
    evaluate(tmp_path / "few.txt", *options)
    rows = json.loads((tmp_path / "x.json").read_text())["results"]
    assert [(row["crops"], row["scale"], row["each"]) for row in rows] == [
        ("ten", "28", 10),
        ("ten", "36", 10),
        ("ten", "all", 20),
        ("dense", "28", "-"),
        ("dense", "36", "-"),
        ("dense", "all", "-"),
        ("all", "all", "-"),
    ]
    assert all(row["pictures"] == 6 for row in rows)


def test_names_say_the_classes_of_folders(digits, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("".join(f"digit {label}\n" for label in range(10)))
    assert evaluate(digits / "classes", "--labels", names).stdout == evaluate(digits / "classes").stdout
    names.write_text("".join(f"digit {9 - label}\n" for label in range(10)))
    turned = evaluate(digits / "classes", "--labels", names).stdout.splitlines()[1].split()
    assert float(turned[3]) < 0.1
    # The order of nine folders does not say which classes they are.
    few = tmp_path / "few"
    shutil.copytree(digits / "classes", few)
    shutil.rmtree(few / "digit 3")
    error = evaluate(few, code=1).stderr
    assert "a folder for each of the net's 10 classes, got 9" in error
    assert "--labels FILE" in error
    names.write_text("".join(f"digit {label}\n" for label in range(10)))
    assert float(evaluate(few, "--labels", names).stdout.splitlines()[1].split()[3]) > 0.9


def test_bad_pictures(digits, tmp_path):
    (tmp_path / "list.txt").write_text((digits / "list.txt").read_text() + "none.png 3\n")
    listed = (tmp_path / "list.txt", "--root", digits)
    assert "list.txt:101: picture 'none.png' is not there" in evaluate(*listed, code=1).stderr
    result = evaluate(*listed, "--keep-going", code=1)
    assert result.stdout == evaluate(digits / "classes").stdout
    assert "1 of 101 pictures could not be read" in result.stderr
    (tmp_path / "list.txt").write_text("classes/digit 7/00.png 12\n")
    error = evaluate(*listed, code=1).stderr
    assert "classes/digit 7/00.png: expected labels from 0 to 9, got 12" in error


def test_wrong_usage(digits, tmp_path):
    assert "is none of single" in evaluate(digits / "lmdb", "--crops", "double", code=2).stderr
    assert "no list of numbers" in evaluate(digits / "lmdb", "--scales", "256;384", code=2).stderr
    (tmp_path / "empty").mkdir()
    assert "a folder without folders" in evaluate(tmp_path / "empty", code=1).stderr
    (tmp_path / "list.txt").write_text("a.png\nb.png\n")
    assert "the list states no labels" in evaluate(tmp_path / "list.txt", code=1).stderr
