"""Matching of boxes to ground truth, and mining."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.detection.matching import match_boxes
from caffecompat.detection.mining import hardest, hardest_apart
from tests.detection import naive, strategies


@given(
    boxes=strategies.boxes(1, 30),
    truth=strategies.boxes(0, 12),
    images=st.integers(1, 3),
    per_prediction=st.booleans(),
    threshold=st.sampled_from([0.0, 0.3, 0.5]),
    ignore=st.booleans(),
)
@settings(deadline=None, max_examples=150)
def test_is_the_greedy_match(boxes, truth, images, per_prediction, threshold, ignore):
    valid = np.array([[(place + image) % 3 != 0 for place in range(len(truth))] for image in range(images)], bool)
    index, best = match_boxes(
        torch.from_numpy(boxes)[None],
        torch.from_numpy(truth).expand(images, -1, -1),
        torch.from_numpy(valid.reshape(images, len(truth))),
        "PER_PREDICTION" if per_prediction else "BIPARTITE",
        threshold,
        ignore_cross_boundary=ignore,
    )
    for image in range(images):
        own = np.flatnonzero(valid[image])
        wanted, overlaps = naive.match(boxes, truth[own], threshold, per_prediction, ignore)
        assert index[image].tolist() == [own[match] if match >= 0 else match for match in wanted]
        np.testing.assert_array_equal(best[image].numpy(), np.array(overlaps, np.float32))


def test_of_equal_overlaps_the_first_box_takes_the_first_truth():
    boxes = torch.tensor([[[0.0, 0.0, 1.0, 1.0]] * 3])
    truth = torch.tensor([[[0.0, 0.0, 1.0, 1.0]] * 2])
    index, _ = match_boxes(boxes, truth, torch.ones(1, 2, dtype=torch.bool), "BIPARTITE")
    assert index.tolist() == [[0, 1, -1]]
    index, _ = match_boxes(boxes, truth, torch.ones(1, 2, dtype=torch.bool), "PER_PREDICTION")
    assert index.tolist() == [[0, 1, 0]]


@pytest.mark.parametrize("seed", range(5))
def test_mining_takes_the_hardest(seed):
    generator = np.random.default_rng(seed)
    losses = generator.permuted(np.arange(60, dtype=np.float32)).reshape(3, 20)
    eligible = generator.random((3, 20)) < 0.7
    count = np.minimum([0, 4, 12], eligible.sum(1))
    found = hardest(torch.from_numpy(losses), torch.from_numpy(eligible), torch.from_numpy(count))
    for image in range(3):
        assert set(found[image].nonzero().flatten().tolist()) == naive.mine(
            losses[image], eligible[image], count[image]
        )


@given(strategies.boxes(20, 20), strategies.scores(3, 20), st.sampled_from([-1, 0, 7, 15]), st.sampled_from([0.3, 0.7]))
@settings(deadline=None)
def test_mining_apart_is_the_greedy_loop(boxes, losses, top_k, threshold):
    eligible = losses != 0.5
    count = np.array([2, 5, 20])
    found = hardest_apart(
        torch.from_numpy(losses),
        torch.from_numpy(eligible),
        torch.from_numpy(count),
        torch.from_numpy(boxes)[None],
        threshold,
        top_k,
    )
    for image in range(3):
        wanted = naive.mine(losses[image], eligible[image], count[image], boxes, threshold, top_k)
        assert set(found[image].nonzero().flatten().tolist()) == wanted
