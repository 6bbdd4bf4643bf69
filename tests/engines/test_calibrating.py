"""What int8 is calibrated with: which items are taken, what is known of them, and when they are others."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest
import torch

from caffecompat.data.preprocessing import Preprocessing
from caffecompat.engines import Calibration
from caffecompat.engines.typical import open_typical
from caffecompat.errors import CaffeCompatWarning, FormatError, UsageError
from caffecompat.schema import caffe_pb2
from tests.cli.records import write_lmdb

EXAMPLE = {"data": torch.zeros(4, 3, 6, 8)}
RECORD = Preprocessing(size=(6, 8))


def picture(value):
    return np.full((6, 8, 3), value, np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Twelve pictures, of value 0 to 11, in folders of three classes."""
    for value in range(12):
        path = tmp_path / "pictures" / "abc"[value % 3] / f"{value:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), picture(value))
    return tmp_path / "pictures"


def all_of(source, record=RECORD):
    """The value and the truth of each item, by both halves of a calibration."""
    calibration = Calibration(source, record)
    found = {}
    for items in (calibration.used, calibration.held_out):
        for batch in calibration.batches(items, EXAMPLE):
            assert batch.inputs["data"].shape == (4, 3, 6, 8)
            values = batch.inputs["data"][:, 0, 0, 0].tolist()
            found.update(zip(values, batch.truths, strict=False))
            assert values[len(batch.truths) :] == [values[0]] * (4 - len(batch.truths))
    return calibration, found


def test_folders_of_classes(folder):
    calibration, found = all_of(folder)
    assert found == {float(value): value % 3 for value in range(12)}
    assert calibration.classes == 3
    named, found = all_of(folder, Preprocessing(size=(6, 8), labels=("c", "b", "a")))
    assert found == {float(value): 2 - value % 3 for value in range(12)}
    assert named.classes is None


def test_folders_that_the_labels_do_not_know(folder):
    """By place only if no name is a label's: else the classes of those that are would be shifted."""
    with pytest.raises(FormatError, match="2 of 3 folders of classes are not among the labels: 'a', 'c'"):
        Calibration(folder, Preprocessing(size=(6, 8), labels=("z", "y", "b")))
    with pytest.warns(CaffeCompatWarning, match="no folder is called as a label is, such as 'a'"):
        calibration, found = all_of(folder, Preprocessing(size=(6, 8), labels=("z", "y", "x")))
    assert found == {float(value): value % 3 for value in range(12)}
    assert calibration.classes == 3


def test_a_folder_without_classes(folder):
    cv2.imwrite(str(folder / "12.png"), picture(12))
    calibration, found = all_of(folder)
    assert found == dict.fromkeys(map(float, range(13)))
    assert calibration.classes is None


@pytest.mark.parametrize("labelled", [True, False])
def test_lists(folder, labelled):
    lines = [f"{'abc'[value % 3]}/{value:02}.png" + f" {value + 5}" * labelled for value in range(12)]
    path = folder / "list.txt"
    path.write_text("\n".join(lines))
    _, found = all_of(path)
    assert found == {float(value): value + 5 if labelled else None for value in range(12)}


def test_a_database_of_datums(tmp_path):
    records = [
        (b"%02d" % value, caffe_pb2.Datum(channels=3, height=6, width=8, data=picture(value).tobytes(), label=value))
        for value in range(9)
    ]
    path = write_lmdb(tmp_path / "db", [(key, datum.SerializeToString()) for key, datum in records])
    assert all_of(path)[1] == {float(value): value for value in range(9)}
    assert all_of(path / "data.mdb")[1] == {float(value): value for value in range(9)}


def test_boxes_lie_as_the_picture_does(tmp_path):
    """A picture of 10 x 20 that fits into 8 x 8: it is 4 high there, between two rows of padding above and below."""
    datum = caffe_pb2.Datum(channels=3, height=10, width=20, data=np.zeros((3, 10, 20), np.uint8).tobytes())
    record = caffe_pb2.AnnotatedDatum(datum=datum, type=caffe_pb2.AnnotatedDatum.BBOX)
    box = record.annotation_group.add(group_label=2).annotation.add(instance_id=1).bbox
    box.xmin, box.ymin, box.xmax, box.ymax, box.difficult = 0.25, 0.5, 0.75, 1, True
    path = write_lmdb(tmp_path / "db", [(b"0", record.SerializeToString())])
    calibration = Calibration(path, Preprocessing(size=(8, 8), resize="fit_large_pad"))
    (batch,) = calibration.batches(calibration.held_out, {"data": torch.zeros(1, 3, 8, 8)})
    np.testing.assert_allclose(batch.truths[0], [[2, 1, 0.25, 4 / 8, 0.75, 6 / 8, 1]], atol=1e-6)


def test_which_items_are_taken():
    """At most a quarter is held out, none of both, the same each time, not every fourth."""
    source = {"data": np.arange(40.0).reshape(40, 1)}
    first, again = Calibration(source), Calibration(source)
    assert (first.used, first.held_out) == (again.used, again.held_out)
    assert sorted(first.used + first.held_out) == list(range(40))
    assert len(first.held_out) == 10
    assert len(set(np.diff(first.held_out))) > 1
    few = Calibration(source, limit=7, held_out=3)
    assert (len(few.used), len(few.held_out)) == (7, 3)
    assert not set(few.used) & set(few.held_out)
    assert len(Calibration(source, held_out=39).used) == 1
    nothing = Calibration(source, held_out=0)
    assert (nothing.used, nothing.held_out) == (list(range(40)), [])
    one = Calibration({"data": np.zeros((1, 1))})
    assert one.used == one.held_out == [0]


def test_pictures_become_as_large_as_the_input(folder):
    calibration = Calibration(folder, Preprocessing(size=(20, 20), crop=(16, 16)))
    fitted = calibration.fitted({"data": (2, 3, 6, 8)})
    assert calibration.fitted({"data": (2, 3, 16, 16)}) is calibration
    (batch, *_) = fitted.batches(fitted.used, EXAMPLE)
    assert batch.inputs["data"].shape == (4, 3, 6, 8)
    assert fitted.stamp() != calibration.stamp()


def test_a_stamp_is_of_the_content(folder, tmp_path):
    before = Calibration(folder, RECORD).stamp()
    assert Calibration(folder, RECORD).stamp() == before
    assert Calibration(folder, RECORD, held_out=2).stamp() != before
    assert Calibration(folder, Preprocessing(size=(6, 8), scale=2)).stamp() != before
    file = folder / "a" / "00.png"
    os.utime(file, ns=(1, 1))
    touched = Calibration(folder, RECORD).stamp()
    file.rename(folder / "a" / "99.png")
    assert len({before, touched, Calibration(folder, RECORD).stamp()}) == 3

    arrays = {"data": np.zeros((4, 2))}
    assert Calibration(arrays).stamp() == Calibration({"data": np.zeros((4, 2))}).stamp()
    stamps = {
        Calibration(given, labels=labels).stamp()
        for given in (arrays, {"data": np.ones((4, 2))})
        for labels in (None, [0, 1, 2, 3])
    }
    assert len(stamps) == 4

    path = write_lmdb(tmp_path / "db", [(b"0", b"x")])
    before = open_typical(path, ()).stamp()
    os.utime(path / "lock.mdb", ns=(1, 1))
    assert open_typical(path, ()).stamp() == before
    os.utime(path / "data.mdb", ns=(1, 1))
    assert open_typical(path, ()).stamp() != before


def test_wrong_usage(tmp_path):
    with pytest.raises(UsageError, match="have \\[2, 3\\] items"):
        Calibration({"a": np.zeros((2, 1)), "b": np.zeros((3, 1))})
    with pytest.raises(UsageError, match="a label for each of 2 items, got 3"):
        Calibration({"a": np.zeros((2, 1))}, labels=[1, 2, 3])
    with pytest.raises(UsageError, match="labels go with inputs"):
        Calibration(tmp_path, labels=[1])
    with pytest.raises(UsageError, match="nothing to calibrate with"):
        Calibration({"a": np.zeros((0, 1))})
    for asked in (-1, 9, 10):
        with pytest.raises(UsageError, match=f"held_out: expected 0 to 8 of 9 items, got {asked}"):
            Calibration({"a": np.zeros((9, 1))}, held_out=asked)
    with pytest.raises(UsageError, match="limit: expected 1 or more items to take ranges of, got 0"):
        Calibration({"a": np.zeros((9, 1))}, limit=0)
    with pytest.raises(UsageError, match="none of the net's inputs: data"):
        next(Calibration({"a": np.zeros((2, 1))}).batches([0], EXAMPLE))
    with pytest.raises(UsageError, match=r"expected items of shape \(3, 6, 8\) for input 'data', got \(3, 8, 6\)"):
        next(Calibration({"data": np.zeros((2, 3, 8, 6))}).batches([0], EXAMPLE))
    (tmp_path / "list.txt").write_text("none.png\n")
    with pytest.raises(FormatError, match=r"none\.png"):
        Calibration(tmp_path / "list.txt")
    with pytest.raises(FormatError, match="no such file"):
        Calibration(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FormatError, match="nothing to work on"):
        Calibration(tmp_path / "empty")
