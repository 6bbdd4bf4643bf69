"""From predictions to rows of detections."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.detection.output import DetectionOptions, detect
from tests.detection import naive, strategies

N, P, C = 2, 24, 4


@given(
    boxes=strategies.boxes(N * P, N * P),
    scores=strategies.scores(N, P, C),
    background=st.sampled_from([0, 2, -1]),
    threshold=st.sampled_from([-1.0, 0.25, 0.875, 1.0]),
    nms_threshold=st.sampled_from([0.3, 0.7]),
    eta=st.sampled_from([1.0, 0.9]),
    top_k=st.sampled_from([-1, 0, 3, 10, 100]),
    keep_top_k=st.sampled_from([-1, 0, 5, 100]),
)
@settings(deadline=None, max_examples=150)
def test_rows_are_the_rules(boxes, scores, background, threshold, nms_threshold, eta, top_k, keep_top_k):
    boxes = boxes.reshape(N, P, 4)
    options = DetectionOptions(background, "CORNER", True, threshold, nms_threshold, eta, top_k, keep_top_k)
    found = detect(
        torch.from_numpy(boxes)[:, :, None], torch.from_numpy(scores), torch.zeros(P, 4), torch.ones(P, 4), options
    )
    wanted = naive.detect(boxes, scores, background, threshold, nms_threshold, eta, top_k, keep_top_k)
    np.testing.assert_array_equal(found.numpy(), wanted)


def test_locations_of_each_class():
    """With as many locations as classes, each class decodes its own."""
    loc = torch.zeros(1, 2, 3, 4)
    loc[0, :, 1] = torch.tensor([0.0, 0.0, 0.1, 0.1])
    loc[0, :, 2] = torch.tensor([0.0, 0.0, 0.2, 0.2])
    scores = torch.tensor([[[0.0, 0.9, 0.0], [0.0, 0.0, 0.8]]])
    rows = detect(loc, scores, torch.zeros(2, 4), torch.ones(2, 4), DetectionOptions(confidence_threshold=0.5))
    expected = torch.tensor([[0, 1, 0.9, 0, 0, 0.1, 0.1], [0, 2, 0.8, 0, 0, 0.2, 0.2]])
    assert torch.equal(rows, expected)


def test_nothing_found_is_a_row_for_each_image():
    rows = detect(
        torch.zeros(3, 2, 1, 4),
        torch.zeros(3, 2, 2),
        torch.zeros(2, 4),
        torch.ones(2, 4),
        DetectionOptions(confidence_threshold=0.5),
    )
    assert rows.tolist() == [[image, *[-1] * 6] for image in range(3)]


def test_nan_scores_are_no_detections():
    scores = torch.full((1, 4, 2), torch.nan)
    scores[0, 1, 1] = 0.5
    rows = detect(torch.zeros(1, 4, 1, 4), scores, torch.rand(4, 4), torch.ones(4, 4), DetectionOptions(top_k=2))
    assert rows[:, :3].tolist() == [[0, 1, 0.5]]
