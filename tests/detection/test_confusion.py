"""Detections and boxes that belong together, by rules written out naively."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.detection.confusion import best_overlaps, pair_up
from caffecompat.detection.evaluate import Boxes


def boxes(rows):
    """Rows (image, label, xmin, ymin, xmax, ymax) as Boxes."""
    rows = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    zeros = torch.zeros(len(rows))
    return Boxes(rows[:, 0].long(), rows[:, 1].long(), rows[:, 2:], zeros, zeros.bool())


def overlap(one, other):
    sides = [min(one[i + 2], other[i + 2]) - max(one[i], other[i]) for i in (0, 1)]
    if min(sides) <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return sides[0] * sides[1] / (sum(areas) - sides[0] * sides[1])


def random_boxes(seed, count):
    chance = np.random.default_rng(seed)
    corners = np.sort(chance.random((count, 2, 2)), axis=1).reshape(count, 4)
    return np.hstack([chance.integers(0, 2, (count, 1)), chance.integers(1, 4, (count, 1)), corners]).tolist()


SQUARE, WIDER, NARROW = [0, 0, 0.4, 0.4], [0, 0, 0.5, 0.4], [0, 0, 0.4, 0.25]


@pytest.mark.parametrize(
    ("found", "truth", "pairs"),
    [
        ([], [[0, 1, *SQUARE]], []),
        ([[0, 1, *SQUARE]], [], [-1]),
        ([[0, 1, *SQUARE]], [[0, 1, *WIDER]], [0]),
        ([[0, 2, *SQUARE]], [[0, 1, *WIDER]], [0]),
        # Of another image, or too far off.
        ([[1, 1, *SQUARE]], [[0, 1, *SQUARE]], [-1]),
        ([[0, 1, *SQUARE]], [[0, 1, 0.3, 0.3, 0.7, 0.7]], [-1]),
        # The right class comes before the better place; a box is taken once.
        ([[0, 2, *SQUARE], [0, 1, *NARROW]], [[0, 1, *SQUARE]], [-1, 0]),
        ([[0, 1, *NARROW], [0, 1, *SQUARE]], [[0, 1, *SQUARE]], [-1, 0]),
        # What is left over is found by what is left over.
        ([[0, 2, *SQUARE], [0, 1, *WIDER]], [[0, 3, *SQUARE], [0, 1, *SQUARE]], [0, 1]),
    ],
)
def test_pairs(found, truth, pairs):
    assert pair_up(boxes(found), boxes(truth)).tolist() == pairs


@pytest.mark.parametrize("seed", range(5))
def test_pairs_of_random_boxes(seed):
    found, truth = random_boxes(seed, 30), random_boxes(seed + 100, 20)
    candidates = sorted(
        (d[1] != t[1], -overlap(d[2:], t[2:]), i, j)
        for i, d in enumerate(found)
        for j, t in enumerate(truth)
        if d[0] == t[0] and overlap(d[2:], t[2:]) >= 0.3
    )
    expected, taken = [-1] * len(found), set()
    for _, _, i, j in candidates:
        if expected[i] == -1 and j not in taken:
            expected[i] = j
            taken.add(j)
    assert pair_up(boxes(found), boxes(truth), 0.3).tolist() == expected


@pytest.mark.parametrize("seed", range(3))
def test_best_overlaps(seed):
    found, truth = random_boxes(seed, 30), random_boxes(seed + 100, 20)
    best, which = best_overlaps(boxes(found), boxes(truth))
    for i, d in enumerate(found):
        each = [overlap(d[2:], t[2:]) * (d[:2] == t[:2]) for t in truth]
        assert best[i].item() == pytest.approx(max(each), abs=1e-6)
        assert which[i].item() == (int(np.argmax(each)) if max(each) > 0 else -1)
    assert best_overlaps(boxes(found), boxes([]))[1].tolist() == [-1] * 30
