"""What is measured of int8: figures that can be counted by hand, and the original's average precision."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from caffecompat.engines.accuracy import Accuracy
from caffecompat.engines.base import Settings
from caffecompat.engines.calibrating import Calibration
from caffecompat.engines.detection_meter import Detections
from caffecompat.engines.measuring import measure
from caffecompat.engines.meters import Classes, Pixels, Values
from caffecompat.engines.torch_eager import TorchEngine
from tests.engines.engine_nets import classifier, detector, pictures

NONE = (None, None, None)


def scores(*best, classes=12):
    """A row for each item, in which a class is the best, and the others are the better the lower."""
    rows = torch.arange(classes, 0, -1).float().repeat(len(best), 1)
    for row, label in zip(rows, best, strict=True):
        row[label] = 50
    return rows


def test_classes():
    """The third is right by neither; of its true class 7, seven others are better where 0 to 6 stand before it."""
    meter = Classes(12, None)
    meter.add(scores(3, 4, 0), scores(3, 2, 0), [3, 4, 7])
    # What fills a batch up does not count.
    meter.add(scores(5, 0, 0), scores(5, 9, 9), [5])
    figures = meter.figures()
    assert figures.float32 == {"top-1": 3 / 4, "top-5": 3 / 4}
    # For the second item of int8, 2 is best, then 0, 1, 3, then 4: its class is among the five best.
    assert figures.int8 == {"top-1": 2 / 4, "top-5": 3 / 4}
    assert figures.agreement == {"same top-1": 3 / 4, "largest difference": pytest.approx(42 / 50)}
    assert not figures.notes


def test_equal_scores_count_against_a_class():
    meter = Classes(3, None)
    meter.add(torch.tensor([[1.0, 2, 3], [5, 4, 3]]), torch.tensor([[1.0, 3, 3], [5, 4, 3]]), [2, 0])
    assert (meter.figures().float32, meter.figures().int8) == ({"top-1": 1.0}, {"top-1": 0.5})


@pytest.mark.parametrize(
    ("labels", "folders", "note"),
    [
        ((None, None), None, "no labels are known"),
        ((1, None), None, "no labels are known"),
        ((1, 12), None, "the label 12 is none of 12 classes"),
        ((-1, 0), None, "the label -1 is none of 12 classes"),
        ((0, 1), 2, "2 folders are not those of 12 classes"),
        ((0, 0), None, "all have the label 0"),
    ],
)
def test_labels_that_tell_nothing(labels, folders, note):
    meter = Classes(12, folders)
    meter.add(scores(0, 1), scores(0, 2), list(labels))
    figures = meter.figures()
    assert not figures.float32
    assert not figures.int8
    assert figures.agreement["same top-1"] == 0.5
    assert note in figures.notes[0]


def test_pixels():
    wanted = torch.zeros(2, 3, 2, 2)
    wanted[:, 1] = 1
    found = wanted.clone()
    found[0, 2, 0, 1] = 4
    found[1] = -1
    meter = Pixels()
    meter.add(wanted, found, [None])
    assert meter.figures().agreement == {"same pixels": 3 / 4, "largest difference": 4.0}


def test_values_of_another_shape():
    meter = Values()
    meter.add(torch.ones(2, 3), torch.ones(1, 3), [None, None])
    accuracy = Accuracy(2, agreement=meter.figures().agreement)
    assert accuracy.agreement["largest difference"] == float("inf")
    assert json.loads(json.dumps(accuracy.values(), allow_nan=False))["agreement"] == {"largest difference": None}


def rows(*found):
    return torch.tensor(found, dtype=torch.float32).reshape(1, 1, -1, 7)


def test_detections_are_matched():
    """Of float32's three above 0.5 in the first image, one has its like, one is of another label, one elsewhere."""
    box = (0.0, 0.0, 0.4, 0.4)
    wanted = rows(
        (0, 1, 0.9, *box), (0, 1, 0.8, 0.5, 0.5, 0.9, 0.9), (0, 2, 0.7, *box), (0, 1, 0.3, *box), (1, 1, 0.9, *box)
    )
    found = rows((0, 1, 0.8, 0.0, 0.0, 0.4, 0.3), (0, 1, 0.6, 0.1, 0.0, 0.4, 0.4), (0, 3, 0.9, *box), (1, 1, 0.9, *box))
    meter = Detections(4)
    meter.add(wanted, found, [None])
    figures = meter.figures()
    # Both of int8 overlap the first by 3/4: only one is its like.
    assert figures.agreement["matched detections"] == pytest.approx(2 / 6)
    assert figures.agreement["mean overlap"] == pytest.approx(0.75)
    assert figures.agreement["mean score difference"] in (pytest.approx(0.1), pytest.approx(0.3))
    assert figures.notes == ("no boxes are known that are to be found",)


def test_without_detections():
    meter = Detections(4)
    meter.add(rows((0, -1, -1, -1, -1, -1, -1)), rows((0, 1, 0.2, 0, 0, 1, 1)), [None])
    assert meter.figures().agreement == {}
    assert "no detection has a score above 0.5" in meter.figures().notes


def test_average_precision():
    """Two boxes: float32 finds both behind a false one, int8 one. A difficult box does not count, found or not."""
    truth = np.array([[1, 0, 0, 0, 0.4, 0.4, 0], [1, 1, 0.5, 0.5, 0.9, 0.9, 0], [2, 0, 0, 0, 1, 1, 1]], np.float32)
    first, second, wrong = (0.0, 0.0, 0.4, 0.4), (0.5, 0.5, 0.9, 0.9), (0.6, 0.0, 0.9, 0.2)
    wanted = rows((0, 1, 0.9, *wrong), (0, 1, 0.8, *first), (0, 1, 0.7, *second), (0, 2, 0.9, 0, 0, 1, 1))
    meter = Detections(3)
    meter.add(wanted, rows((0, 1, 0.9, *first)), [truth])
    figures = meter.figures()
    assert figures.float32 == {"mAP": pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 3)}
    assert figures.int8 == {"mAP": pytest.approx(0.5)}


def test_what_is_told():
    accuracy = Accuracy(7, {"top-1": 0.75}, {"top-1": 0.5}, {"same top-1": 0.875, "largest difference": 0.0123}, ("x",))
    assert accuracy.drop == {"top-1": 0.25}
    assert str(accuracy).splitlines() == [
        "int8 beside float32, on 7 items that took no part in calibration:",
        "  top-1: float32 75.00%, int8 50.00%, drop 25.00 points",
        "  same top-1 87.50%, largest difference 0.0123",
        "  x",
    ]
    assert accuracy.values()["drop"] == {"top-1": 0.25}
    same = Accuracy(1, agreement={"same top-1": 1.0}, took_part=True)
    assert str(same).startswith("int8 beside float32, on 1 item that it was calibrated with too:\n")
    assert same.values()["took_part"]
    nothing = str(Accuracy(4, notes=("no detection has a score above 0.5",)))
    assert nothing.splitlines()[0] == "what int8 costs is not known: nothing could be measured on 4 items:"


def measured(net, items, **options):
    """The accuracy of an engine that computes what the net does, and what is told."""
    example, told = {"data": pictures()}, []
    calibration = Calibration({"data": pictures(items, 3, 21, 18)}, **options)
    engine = TorchEngine(net, Settings("float32", example, 1))
    return measure(engine, Settings("int8", example, 1, calibration), told.append), told


def test_how_much_the_figures_rest_on():
    """One item alone was calibrated with; of few items figures say little; ten held out are enough."""
    one, told = measured(classifier(), 1)
    assert told == ["measuring what int8 costs, on 1 item"]
    assert (one.items, one.took_part) == (1, True)
    few, _ = measured(classifier(), 39)
    assert (few.items, few.took_part) == (9, False)
    for accuracy in (one, few):
        assert "figures of so few items say little: give 40 or more" in accuracy.notes[-1]
    enough, _ = measured(classifier(), 40)
    assert (enough.items, enough.took_part) == (10, False)
    assert not [note for note in enough.notes if "few" in note]


def test_without_held_out_items_nothing_is_measured():
    assert measured(classifier(), 4, held_out=0) == (None, ["what int8 costs is not measured: no items are held out"])


def test_a_detector_that_finds_nothing():
    """Neither boxes are known, nor is there a detection above 0.5: no figure, and the first line says so."""
    net = detector()
    with torch.no_grad():
        for value in net.parameters():
            value.zero_()
    accuracy, _ = measured(net, 4)
    assert (accuracy.float32, accuracy.agreement) == ({}, {})
    assert "nothing could be measured on 1 item:" in str(accuracy)
    assert str(accuracy).count("say little") == 0
