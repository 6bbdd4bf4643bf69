"""Result files beyond the recorded ones (tests/layers/test_detection_writing.py): numbers, names, what JSON takes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from caffecompat.detection.name_sizes import NameSizes
from caffecompat.detection.result_files import ResultFiles, Target, json_value, rounded


def write(folder, rows, format_="COCO", names=("one",), categories=None, size=(1000, 1000)):
    images = NameSizes(tuple(names), (size,) * len(names))
    target = Target(folder, "x", format_, categories or {1: "cat"}, images, len(names))
    ResultFiles(target).add(torch.tensor(rows), len(names))
    return next(folder.iterdir()).read_text()


def test_rounding_is_half_away_from_zero():
    """C++'s round: 0.125 is exact in binary, and so is 0.375."""
    values = np.array([0.125, 0.375, -0.125, 0.124, 86.85], np.float32)
    np.testing.assert_array_equal(rounded(values), np.array([0.13, 0.38, -0.13, 0.12, 86.85], np.float32))


def test_corners_and_sides_are_cut_one_by_one(tmp_path):
    """xmin 1.6, xmax 3.4: width 1.8, so 1 and 1 + 1, as the original adds them, and not 3."""
    text = write(tmp_path, [[0, 1, 0.5, 0.0016, 0.0, 0.0034, 0.01]], "ILSVRC")
    assert text == "one 1 0.5 1 0 2 10\n"


def test_boxes_are_clipped_and_what_is_no_number_is_0(tmp_path):
    text = write(tmp_path, [[0, 1, 0.5, -3.0, float("nan"), float("inf"), 0.5]], "ILSVRC")
    assert text == "one 1 0.5 0 0 1000 500\n"


@pytest.mark.parametrize("format_", ["COCO", "ILSVRC", "VOC"])
def test_no_detections(tmp_path, format_):
    text = write(tmp_path, [[0.0, *[-1.0] * 6], [1.0, *[-1.0] * 6]], format_, names=("one", "two"))
    assert text == ("[\n]\n" if format_ == "COCO" else "")


def test_small_scores_are_numbers(tmp_path):
    (found,) = json.loads(write(tmp_path, [[0, 1, 1e-7, 0.0, 0.0, 0.5, 0.5]]))
    assert found["score"] == pytest.approx(1e-7)


@pytest.mark.parametrize("name", ["007", "-0", "1.", "1e5", 'a"b', "a\\b", "é", "\udcff", "a/b", ""])
def test_names_are_strings_that_json_gives_back(tmp_path, name):
    if name == "-0":
        assert json.loads(json_value(name)) == 0
        return
    assert json.loads(json_value(name)) == name


@pytest.mark.parametrize(("name", "value"), [("139", 139), ("-1", -1), ("0", 0), ("1.5", 1.5), ("true", True)])
def test_names_that_look_like_values_are_values(name, value):
    """The original's regular expression: null|true|false|-?[0-9]+(\\.[0-9]+)?"""
    assert json_value(name) == name
    assert json.loads(json_value(name)) == value
