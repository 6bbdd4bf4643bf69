"""`caffecompat report`: the pages of recorded runs of the original, of SSD and of a classifying net."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from caffecompat.schema import caffe_pb2
from tests.cli.pages import Page, picture, report
from tests.cli.records import call, read_lmdb, write_lmdb
from tests.support import REFERENCE

RUNS = REFERENCE / "ssd_training"
SSD = RUNS / "ssd_shapes"
DIGITS = REFERENCE / "training"
# The original's mAP for its own final weights.
RECORDED = 0.875998
NAMES = {1: "circle", 2: "square", 3: "triangle"}


def of_ssd(target, *more, net=SSD / "test.prototxt"):
    common = ("--model", net, "--weights", SSD / "final.caffemodel", "--root", RUNS, "--ap-version", "11point")
    return report(target, *common, *more)


@pytest.fixture(scope="module")
def ssd(tmp_path_factory):
    return of_ssd(tmp_path_factory.mktemp("page") / "page.html", SSD / "caffe.log", "--examples", 5)


def shapes():
    """The test set: (key, picture, [(label, difficult)])."""
    for key, value in sorted(read_lmdb(RUNS / "shapes" / "test_lmdb").items()):
        record = caffe_pb2.AnnotatedDatum.FromString(value)
        image = cv2.imdecode(np.frombuffer(record.datum.data, np.uint8), cv2.IMREAD_COLOR)
        boxes = [
            (group.group_label, one.bbox.difficult) for group in record.annotation_group for one in group.annotation
        ]
        yield key.decode(), image, boxes


# --- a run of SSD


def test_average_precisions_are_those_the_original_recorded(ssd):
    value, how, *_ = ssd.tiles["mean average precision"]
    assert float(value) == pytest.approx(RECORDED, abs=1e-3)
    assert how == "11point, 3 classes"
    rows = {row[0]: row[1:] for row in ssd.table("class", "average precision")}
    assert set(rows) == set(NAMES.values())
    assert np.mean([float(row[0]) for row in rows.values()]) == pytest.approx(RECORDED, abs=1e-3)
    counted = [
        name for _, _, boxes in shapes() for label, difficult in boxes if not difficult for name in [NAMES[label]]
    ]
    for name, (_, boxes, found, right, precision, recall) in rows.items():
        assert int(boxes) == counted.count(name)
        assert float(precision) == pytest.approx(int(right) / int(found), abs=1e-3)
        assert float(recall) == pytest.approx(int(right) / int(boxes), abs=1e-3)
    assert ssd.tiles["images tested"] == ("48", f"{len(counted)} boxes to find")
    assert ssd.facts()["tested on"] == "6 batches, 48 items"


def test_confusion_counts_every_box_once(ssd):
    rows = {row[0]: row[1:] for row in ssd.table("true \\ answer", "circle", "square", "triangle", "background")}
    boxes = {row[0]: row[2:4] for row in ssd.table("class", "average precision")}
    for index, name in enumerate(NAMES.values()):
        counts = [int(count or 0) for count in rows[name]]
        assert sum(counts) == int(boxes[name][0])
        found = sum(int(row[index] or 0) for row in rows.values())
        # A detection on a box that need not be found counts in neither.
        assert int(boxes[name][1]) == found
    assert rows["background"][3] == ""


def test_pictures_are_those_of_the_records(ssd):
    # The file of a key such as 00000002_JPEGImages/test_0002.jpg.
    records = {key.rpartition("/")[2]: image for key, image, _ in shapes()}
    drawn = [figure for figure in ssd.figures if figure[1]]
    assert len(drawn) == 15
    assert 'title="00000020_JPEGImages/test_0020.jpg">test_0020.jpg<' in ssd.source
    for caption, urls, texts in drawn:
        name, said, key = caption
        shown = picture(urls[0]).astype(int)
        wanted = cv2.resize(records[key], (96, 96)).astype(int)
        # JPEG, twice; another picture of noise is off by some 60.
        assert np.abs(shown - wanted).mean() < 12
        assert name in NAMES.values()
        assert any(text.startswith(name) for text in texts)
        assert re.match(r"score [01]\.\d{3}|not found|found with 0\.\d{3} only", said)
    scores = [float(said.split()[1].strip(":,")) for (_, said, _), _, _ in drawn if said.startswith("score")]
    assert scores[:5] == sorted(scores[:5], reverse=True)
    assert scores[5:] == sorted(scores[5:], reverse=True)


def test_curves_of_the_log(ssd):
    assert ssd.table("output", "first", "best") == [["test detection_eval", "0.001557", "0.876", "600", "0.876"]]
    assert ssd.tiles["iterations"] == ("600",)
    assert ssd.tiles["last loss"] == ("1.068", "first 203.7")
    assert {"Loss", "Test outputs"} <= set(ssd.texts)
    assert "Learning rate" not in ssd.texts  # of which this log has nothing
    assert "test detection_eval: 0.7159 at 200" in ssd.texts  # what a mark tells
    assert [svg["aria-label"] for svg in ssd.all("svg") if svg.get("role")][:2] == ["loss", "test outputs"]


@pytest.mark.parametrize("batch", [7, 48, 100])
def test_items_that_come_again_do_not_count(tmp_path, batch):
    net = tmp_path / "test.prototxt"
    net.write_text((SSD / "test.prototxt").read_text().replace("batch_size: 8", f"batch_size: {batch}"))
    page = of_ssd(tmp_path / "page.html", net=net)
    assert float(page.tiles["mean average precision"][0]) == pytest.approx(RECORDED, abs=1e-3)
    assert page.tiles["images tested"] == ("48", "99 boxes to find")
    again = {7: 1, 48: 0, 100: 52}[batch]
    assert (f"; {again} more of the last batch" in page.facts()["tested on"]) == bool(again)


def test_a_net_that_is_sure_of_nothing(tmp_path):
    options = ("--iterations", 1, "--examples", 2, "--threshold", 1)
    page = of_ssd(tmp_path / "page.html", *options)
    assert page.facts()["tested on"] == "1 batch, 8 items"
    rows = page.table("class", "average precision")
    assert [row[3:6] for row in rows] == [["0", "0", ""]] * 3
    missed = {row[0]: row[-1] for row in page.table("true \\ answer")}
    assert missed == {row[0]: row[2] for row in rows} | {"background": ""}
    none = of_ssd(tmp_path / "page.html", "--iterations", 1, "--examples", 0)
    assert not none.all("image")


# --- runs of a classifying net


def of_digits(tmp_path, *more, weights="final", root=DIGITS):
    folder = DIGITS / "adam"
    common = ("--model", folder / "train_val.prototxt", "--weights", folder / f"{weights}.caffemodel", "--root", root)
    return report(tmp_path / "page.html", *common, *more)


def recorded():
    with np.load(DIGITS / "adam" / "trace.npz") as trace:
        return trace["test/accuracy"]


def test_accuracy_is_that_the_original_recorded(tmp_path):
    """The last test of the run began after three of 7 batches of 50: the records are put in this order."""
    records = sorted(read_lmdb(DIGITS / "digits" / "test_lmdb").items())
    start = 3 * 7 * 50 % len(records)
    turned = [(b"%08d" % place, value) for place, (_, value) in enumerate(records[start:] + records[:start])]
    (tmp_path / "digits").mkdir()
    write_lmdb(tmp_path / "digits" / "test_lmdb", turned)
    page = of_digits(tmp_path, "--iterations", 7, root=tmp_path)
    assert float(page.tiles["accuracy"][0]) == pytest.approx(recorded()[-1], abs=5.1e-4)
    outputs = {row[0]: row[1] for row in page.table("output", "mean over the batches")}
    assert float(outputs["accuracy"]) == pytest.approx(recorded()[-1], abs=5.1e-5)


def test_accuracy_before_training(tmp_path):
    page = of_digits(tmp_path, "--iterations", 7, weights="init")
    assert float(page.tiles["accuracy"][0]) == pytest.approx(recorded()[0], abs=5.1e-4)


def test_all_records_once(tmp_path):
    labels = [caffe_pb2.Datum.FromString(value).label for value in read_lmdb(DIGITS / "digits" / "test_lmdb").values()]
    page = of_digits(tmp_path, "--examples", 3)
    assert page.tiles["accuracy"][1] == f"{len(labels)} items, 10 classes"
    assert page.facts()["tested on"].startswith("8 batches, 397 items; 3 more of the last batch")
    rows = page.table("class", "accuracy", "items")
    assert [(row[0], int(row[2])) for row in rows] == [(str(label), labels.count(label)) for label in range(10)]
    matrix = np.array([[int(cell or 0) for cell in row[1:]] for row in page.table("true \\ answer")])
    assert matrix.sum(1).tolist() == [labels.count(label) for label in range(10)]
    assert matrix.diagonal().tolist() == [int(row[3]) for row in rows]
    true, answer, times, _ = page.table("true", "taken for")[0]
    np.fill_diagonal(matrix, 0)
    assert matrix[int(true), int(answer)] == int(times) == matrix.max()
    records = read_lmdb(DIGITS / "digits" / "test_lmdb")
    assert len(page.figures) == 3
    for (title, said, key), (url,), _ in page.figures:
        datum = caffe_pb2.Datum.FromString(records[key.encode()])
        assert title.startswith(f"true {datum.label}: ")
        assert not said.startswith(f"taken for {datum.label}")
        # Small pictures are kept as they are.
        np.testing.assert_array_equal(picture(url)[:, :, 0].ravel(), np.frombuffer(datum.data, np.uint8))


def test_names_of_classes(tmp_path):
    (tmp_path / "names.txt").write_text("\n".join(["<script>alert(1)</script>", *"bcdefghij"]))
    page = of_digits(tmp_path, "--labels", tmp_path / "names.txt")
    assert page.table("class", "accuracy")[0][0] == "<script>alert(1)</script>"
    assert "<script" not in page.source


def test_labels_that_cannot_be_read(tmp_path):
    target = tmp_path / "page.html"
    folder = DIGITS / "adam"
    common = (
        "--model",
        folder / "train_val.prototxt",
        "-w",
        folder / "final.caffemodel",
        "--root",
        DIGITS,
        "-o",
        target,
    )
    assert "cannot read the labels" in call("report", *common, "--labels", tmp_path / "none", code=1).stderr
    # That a net names a label map that is not there is no reason to stop.
    net = tmp_path / "test.prototxt"
    net.write_text((SSD / "test.prototxt").read_text().replace("labelmap.prototxt", "no_map.prototxt"))
    common = ("--model", net, "-w", SSD / "final.caffemodel", "--root", RUNS, "-o", target, "--iterations", 1)
    assert "classes are shown as numbers" in call("report", *common).stderr
    assert {row[0] for row in Page(target.read_text()).table("class", "average precision")} == {"1", "2", "3"}
