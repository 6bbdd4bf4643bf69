"""Reports on nets made by hand: detections of every kind, label maps, hostile names."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.schema import caffe_pb2
from tests.cli.pages import hand_made, picture
from tests.cli.records import write_lmdb

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
