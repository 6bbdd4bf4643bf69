"""Detections against ground truth, and boxes in pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.detection.evaluate import (
    count_positives,
    in_order,
    match_detections,
    pad_by_image,
    read_detections,
    read_ground_truth,
)
from caffecompat.detection.placement import boxes_in_image
from caffecompat.schema import caffe_pb2
from tests.detection import naive, strategies

MODE = caffe_pb2.ResizeParameter


def rows_of(boxes, seed, *middle):
    """Rows (image, label, ..., corners) with these columns between."""
    generator = np.random.default_rng(seed)
    heads = generator.integers([0, 1], [3, 4], (len(boxes), 2))
    columns = [generator.permutation(len(boxes))[:, None] / 64 for _ in middle]
    return np.concatenate([heads, *columns, boxes], 1).astype(np.float32)


@given(
    strategies.boxes(0, 25), strategies.boxes(0, 12), st.integers(0, 1000), st.booleans(), st.sampled_from([0.3, 0.5])
)
@settings(deadline=None)
def test_marks_are_the_rules(boxes, targets, seed, difficult, threshold):
    detections = rows_of(boxes, seed, "score")
    truth = rows_of(targets, seed + 1, "instance")
    truth = np.concatenate([truth, (np.arange(len(truth)) % 3 == 0)[:, None]], 1).astype(np.float32)
    found, wanted = read_detections(torch.from_numpy(detections)), read_ground_truth(torch.from_numpy(truth))
    found = found[in_order(found, wanted)]
    marks = match_detections(found, wanted, threshold, evaluate_difficult=difficult)
    columns = torch.stack([found.image.float(), found.label.float(), found.score], 1)
    expected = naive.evaluate(detections.tolist() and list(detections), list(truth), threshold, difficult)
    np.testing.assert_array_equal(torch.cat([columns, marks], 1).numpy(), expected)
    counts = count_positives(wanted, 4, evaluate_difficult=difficult).tolist()
    assert counts == [sum(row[1] == label and (difficult or not row[7]) for row in truth) for label in range(4)]


def test_rows_that_mean_nothing_are_left_out():
    assert len(read_detections(torch.tensor([[[[0.0, -1, -1, -1, -1, -1, -1]]]]))) == 0
    assert len(read_ground_truth(torch.full((1, 1, 1, 8), -1.0))) == 0


def test_truth_as_a_batch():
    rows = torch.zeros(4, 8)
    rows[:, 0] = torch.tensor([2, 0, 2, 7])
    rows[:, 1] = torch.tensor([5, 6, 7, 8])
    boxes, labels, valid = pad_by_image(read_ground_truth(rows), 3)
    assert boxes.shape == (3, 2, 4)
    assert labels.tolist() == [[6, -1], [-1, -1], [5, 7]]
    assert valid.tolist() == [[True, False], [False, False], [True, True]]


@pytest.mark.parametrize(
    ("resize", "wanted", "area"),
    [
        (None, [0, 20, 50, 100], 51 * 81),
        (MODE(resize_mode=MODE.WARP, height=300, width=300), [0, 20, 50, 100], 51 * 81),
        # 200 wide and 100 high within 300 x 300: the image lies between 0.25 and 0.75 of the height.
        (MODE(resize_mode=MODE.FIT_LARGE_SIZE_AND_PAD, height=300, width=300), [0, 0, 50, 100], 51 * 101),
        (MODE(resize_mode=MODE.FIT_SMALL_SIZE, height=300, width=300), [0, 20, 50, 100], 51 * 81),
        (MODE(resize_mode=MODE.FIT_SMALL_SIZE, height_scale=50, width_scale=100), [0, 10, 25, 60], 25 * 50),
    ],
)
def test_boxes_in_pixels(resize, wanted, area):
    found, areas = boxes_in_image(torch.tensor([[-0.1, 0.2, 0.25, 1.2]]), 100, 200, resize)
    assert found[0].tolist() == pytest.approx(wanted, abs=1e-4)
    assert areas.item() == pytest.approx(area, rel=1e-5)


def test_a_box_in_the_padding_alone_stays():
    resize = MODE(resize_mode=MODE.FIT_LARGE_SIZE_AND_PAD, height=300, width=300)
    found, _ = boxes_in_image(torch.tensor([[0.1, 0.05, 0.2, 0.2]]), 100, 200, resize)
    assert found[0].tolist() == pytest.approx([20, 5, 40, 20], abs=1e-4)
