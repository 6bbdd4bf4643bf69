"""`caffecompat report`: the pages of recorded runs of the original, of nets made by hand, and of hostile names."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from caffecompat.schema import caffe_pb2
from tests.cli.pages import Page, check_self_contained, picture
from tests.cli.records import call, read_lmdb, write_lmdb
from tests.support import REFERENCE

RUNS = REFERENCE / "ssd_training"
SSD = RUNS / "ssd_shapes"
DIGITS = REFERENCE / "training"
# The original's mAP for its own final weights.
RECORDED = 0.875998
NAMES = {1: "circle", 2: "square", 3: "triangle"}


@pytest.fixture
def weights(tmp_path):
    """A weight file, none of whose layers is in the nets here."""
    path = tmp_path / "other.caffemodel"
    net = caffe_pb2.NetParameter(name="other")
    net.layer.add(name="other", type="Bias").blobs.add(data=[1.0]).shape.dim.append(1)
    path.write_bytes(net.SerializeToString())
    return path


def hand_made(tmp_path, weights, text, *more):
    net = tmp_path / "net.prototxt"
    net.write_text(text)
    return report(tmp_path / "page.html", "--model", net, "--weights", weights, "--root", tmp_path, *more)


def report(target, *arguments):
    call("report", *arguments, "-o", target)
    page = Page(target.read_text())
    check_self_contained(page)
    return page


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
    records = {key: image for key, image, _ in shapes()}
    drawn = [figure for figure in ssd.figures if figure[1]]
    assert len(drawn) == 15
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


FOUND = """
layer { name: "d" type: "HDF5Data" top: "found" top: "truth" hdf5_data_param { source: "list" batch_size: 1 } }
layer { name: "e" type: "DetectionEvaluate" bottom: "found" bottom: "truth" top: "eval"
  detection_evaluate_param { num_classes: CLASSES overlap_threshold: 0.5 evaluate_difficult_gt: false } }
"""


def evaluated(tmp_path, weights, found, truth, *more, classes=3):
    """The page on rows (image, label, score, box) and (image, label, box, difficult)."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "rows.h5", "w") as file:
        file["found"] = np.array([[image, label, score, *box] for image, label, score, box in found], np.float32)[
            None, None
        ]
        rows = [[image, label, 0, *box, difficult] for image, label, box, difficult in truth]
        file["truth"] = np.array(rows, np.float32)[None, None]
    (tmp_path / "list").write_text("rows.h5\n")
    return hand_made(tmp_path, weights, FOUND.replace("CLASSES", str(classes)), "--iterations", 1, *more)


def test_every_kind_of_right_and_wrong(tmp_path, weights):
    one, two, hard, empty = ((0, 0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9), (0.5, 0, 0.9, 0.4), (0, 0.6, 0.3, 0.9))
    truth = [(0, 1, one, 0), (0, 2, two, 0), (0, 1, hard, 1), (1, 2, one, 0)]
    found = [
        (0, 1, 0.9, one),
        (0, 1, 0.8, one),
        (0, 1, 0.7, two),
        (0, 2, 0.6, empty),
        (0, 1, 0.55, (0.2, 0, 0.6, 0.4)),
        (0, 1, 0.95, hard),
        (0, 2, 0.2, two),
    ]
    page = evaluated(tmp_path, weights, found, truth)
    assert page.table("true \\ answer") == [
        ["1", "1", "", ""],
        # The box of class 2 was taken for one of class 1, and another was missed.
        ["2", "1", "", "1"],
        # A detection on a difficult box is no fault.
        ["background", "2", "1", ""],
    ]
    captions = [caption[:2] for caption, _, _ in page.figures if len(caption) > 1]
    assert captions == [
        ["1", "score 0.800: a box that is found already"],
        ["1", "score 0.700: it is 2"],
        ["2", "score 0.600: nothing there"],
        ["1", "score 0.550: overlap 0.33 only"],
        ["2", "not found"],
        ["2", "found with 0.200 only"],
        ["1", "score 0.900, overlap 1.00"],
        ["2", "score 0.200, overlap 1.00"],
    ]
    assert "No pictures are shown, for the net gets none from a data layer." in page.texts
    rows = {row[0]: row[2:] for row in page.table("class", "average precision")}
    assert rows == {"1": ["1", "4", "1", "0.250", "1.000"], "2": ["2", "1", "0", "0.000", "0.000"]}


def test_many_classes(tmp_path, weights):
    """Of 60 classes each, 1 is taken for 2 three times, and 9 is missed."""
    box, names = (0.1, 0.1, 0.5, 0.5), tmp_path / "names"
    names.write_text("\n".join(f"name{label}" for label in range(61)))
    truth = [(label, label, box, 0) for label in range(1, 61)] + [(100 + n, 1, box, 0) for n in range(3)]
    found = [(label, label, 0.9, box) for label in range(1, 61) if label != 9]
    found += [(100 + n, 2, 0.8, box) for n in range(3)] + [(200, 5, 0.7, box)]
    page = evaluated(tmp_path, weights, found, truth, "--labels", names, classes=61)
    assert page.table("true", "taken for") == [["name1", "name2", "3", "75.0%"]]
    assert "Besides, 1 were missed, and 1 found where there is only background." in page.texts
    assert len(page.table("class", "average precision")) == 60


def test_numbers_that_are_none(tmp_path, weights):
    nan, box = float("nan"), (0.1, 0.1, 0.5, 0.5)
    found = [(0, 1, nan, box), (0, 1, 0.5, (nan, nan, float("inf"), 1e30)), (0, 2, float("inf"), box)]
    page = evaluated(tmp_path, weights, found, [(0, 1, (nan, 0, 1, 1), 0), (0, 2, box, 0)])
    places = [
        value for _, attributes in page.tags for name, value in attributes.items() if name in ("d", "x", "y", "width")
    ]
    assert not [place for place in places if "nan" in str(place) or "inf" in str(place)]


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


# --- label maps, and data that is no picture

MAPS = """
name: "maps"
layer { name: "d" type: "HDF5Data" top: "data" top: "label" top: "made"
  hdf5_data_param { source: "list" batch_size: 2 } }
layer { name: "scores" type: "Eltwise" bottom: "made" bottom: "made" top: "scores" }
layer { name: "p" type: "Pooling" bottom: "data" top: "p" pooling_param { global_pooling: true } }
layer { name: "s" type: "Silence" bottom: "p" }
layer { name: "a" type: "Accuracy" bottom: "scores" bottom: "label" top: "acc" accuracy_param { ignore_label: 255 } }
"""


def test_label_maps(tmp_path, weights):
    h5py = pytest.importorskip("h5py")
    chance = np.random.default_rng(3)
    labels = chance.choice([0, 1, 2, 255], (3, 1, 5, 4)).astype(np.float32)
    scores = chance.random((3, 4, 5, 4)).astype(np.float32)
    with h5py.File(tmp_path / "maps.h5", "w") as file:
        file["data"], file["label"], file["made"] = chance.random((3, 3, 5, 4), np.float32), labels, scores
    (tmp_path / "list").write_text("maps.h5\n")
    page = hand_made(tmp_path, weights, MAPS)
    answers, truth = scores.argmax(1), labels[:, 0]
    counted = truth != 255
    overlaps = {}
    for label in range(4):
        union = (((answers == label) | (truth == label)) & counted).sum()
        overlaps[label] = ((answers == label) & (truth == label)).sum() / union
    rows = page.table("class", "intersection over union")
    assert [row[0] for row in rows] == [str(label) for label in sorted(overlaps, key=lambda label: -overlaps[label])]
    for name, value, pixels, _ in rows:
        assert float(value) == pytest.approx(overlaps[int(name)], abs=6e-4)
        assert int(pixels) == (truth == int(name)).sum()
    assert float(page.tiles["mean intersection over union"][0]) == pytest.approx(
        np.mean([*overlaps.values()]), abs=6e-4
    )
    right = (answers == truth)[counted].mean()
    assert float(page.tiles["pixels right"][0]) == pytest.approx(right, abs=6e-4)
    # Of each item the picture, the label map and the answer.
    assert [len(urls) for _, urls, _ in page.figures] == [3, 3, 3]
    shares = [float(caption[0].split("%")[0]) for caption, _, _ in page.figures]
    assert shares == sorted(shares)
    item = int(np.argmin([(answers[i] == truth[i])[counted[i]].mean() for i in range(3)]))
    voc = {0: (0, 0, 0), 1: (0, 0, 128), 2: (0, 128, 0), 3: (0, 128, 128), 255: (128, 128, 128)}
    shown = picture(page.figures[0][1][0])
    assert shown.shape == (5, 4, 3)
    assert (shown.min(), shown.max()) == (0, 255)  # whatever the range of the values
    for url, values in zip(page.figures[0][1][1:], (truth[item], answers[item]), strict=True):
        np.testing.assert_array_equal(picture(url), [[voc[int(value)] for value in row] for row in values])


def test_hostile_names(tmp_path, weights):
    evil = '"><script>x</script>\x1b[31m'
    datum = caffe_pb2.Datum(channels=3, height=2, width=2, data=bytes(12), label=1).SerializeToString()
    write_lmdb(tmp_path / "db", [(f"<img src=x>{n}".encode(), datum) for n in range(2)])
    name = evil.replace('"', '\\"').replace("\x1b", "\\033")
    net = f"""
      name: "{name}"
      layer {{ name: "{name}" type: "Data" top: "data" top: "label"
        data_param {{ source: "db" batch_size: 1 backend: LMDB }} }}
      layer {{ name: "flat" type: "Flatten" bottom: "data" top: "{name}" }}
      layer {{ name: "acc" type: "Accuracy" bottom: "{name}" bottom: "label" top: "{name}acc" }}"""
    log = tmp_path / "<b>&amp;.log"
    log.write_text(f"Iteration 0, loss = 1\nIteration 1, Testing net (#0)\nTest net output #0: {evil} = 0.5\n")
    page = hand_made(tmp_path, weights, net, log)
    assert "<script" not in page.source
    assert "\x1b" not in page.source
    assert any("<img src=x>0" in text for text in page.texts)
    assert any("<script>x</script>" in row[0] for row in page.table("output", "first"))
    assert any("<b>&amp;.log" in text for text in page.texts)


def test_a_net_without_anything_to_look_at(tmp_path, weights):
    text = 'layer { name: "d" type: "DummyData" top: "a" dummy_data_param { shape { dim: 2 } } }'
    page = hand_made(tmp_path, weights, text)
    assert page.facts()["tested on"] == "50 batches"
    assert page.table("output", "mean over the batches") == [["a", "0, 0", ""]]


# --- logs alone


def test_a_log_without_tests(tmp_path):
    lines = [f"Iteration {n}, loss = {1 / (n + 1)}\nIteration {n}, lr = 0.1" for n in range(0, 300, 10)]
    (tmp_path / "run.log").write_text("\n".join([*lines, "Iteration 300, loss = nan"]))
    page = report(tmp_path / "page.html", tmp_path / "run.log")
    assert "The log shows no test." in page.texts
    assert page.tiles["last loss"] == ("nan", "first 1")
    assert "Learning rate" in page.texts
    assert not page.all("image")


def test_several_logs_and_the_default_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, loss in (("one", 2), ("two", 3)):
        text = f"Iteration 0, loss = {loss}\nIteration 5, Testing net (#0)\nTest net output #0: acc = 0.{loss}\n"
        (tmp_path / f"{name}.log").write_text(text)
    call("report", "one.log", "two.log")
    page = Page((tmp_path / "one.html").read_text())
    assert [row[0] for row in page.table("output", "first")] == ["test acc (one.log)", "test acc (two.log)"]
    assert {"loss (one.log)", "loss (two.log)"} <= set(page.texts)
    assert page.tiles == {}


@pytest.mark.parametrize("values", [["nan"] * 3, ["1e300", "-1e300", "inf"], ["0", "0", "0"], ["-3", "5", "1e-9"]])
def test_losses_of_any_kind_are_drawn(tmp_path, values):
    (tmp_path / "run.log").write_text("\n".join(f"Iteration {n}, loss = {v}" for n, v in enumerate(values)))
    page = report(tmp_path / "page.html", tmp_path / "run.log")
    places = " ".join(path["d"] for path in page.all("path")) + " ".join(str(line["y1"]) for line in page.all("line"))
    assert "nan" not in places
    assert "inf" not in places


def test_a_long_log_makes_a_light_page(tmp_path):
    chance = np.random.default_rng(1)
    losses = chance.random(60_000) + 1
    losses[31_234] = 9
    (tmp_path / "run.log").write_text("\n".join(f"Iteration {n}, loss = {loss:.6f}" for n, loss in enumerate(losses)))
    page = report(tmp_path / "page.html", tmp_path / "run.log")
    assert len(page.source) < 150_000
    heights = [float(place) for place in re.findall(r"[ L]\d+\.\d (\d+\.\d)", page.all("path")[0]["d"])]
    assert sorted(heights)[0] < sorted(heights)[1] - 100  # the peak is there


# --- faults


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "nothing to report"),
        (["none.log"], 1, "none.log: there is no such file"),
        (["run.log", "--model", "net.prototxt"], 2, "--weights FILE"),
        (["run.log", "--weights", "other.caffemodel"], 2, "--model NET.prototxt"),
        (["run.log", "-o", "run.log"], 2, "run.log is an input"),
        (["run.log", "-o", "none/page.html"], 1, "its folder does not exist"),
        (["--model", "net.prototxt", "-w", "other.caffemodel"], 2, "read from nowhere"),
        (["--model", "data.prototxt", "-w", "other.caffemodel"], 1, "'missing_lmdb'"),
        (["--model", "data.prototxt", "-w", "none.caffemodel"], 1, "none.caffemodel: cannot be read"),
        (["run.log", "--threshold", "2"], 2, "--threshold"),
    ],
)
def test_faults_are_told(tmp_path, monkeypatch, weights, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.log").write_text("Iteration 0, loss = 1\n")
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "i" type: "Input" top: "data" input_param { shape { dim: 1 } } }'
    )
    (tmp_path / "data.prototxt").write_text(
        'layer { name: "d" type: "Data" top: "data" data_param { source: "missing_lmdb" batch_size: 1 backend: LMDB } }'
    )
    assert message in call("report", *arguments, code=code).stderr
    assert not list(tmp_path.glob("*.html"))


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
