"""Accuracy: dialects, labels that are no class, what it refuses."""

from __future__ import annotations

import math
import re

import pytest
import torch

from caffecompat.errors import ShapeError
from tests.layers.single import single

TIES = torch.tensor([[1.0, 1, 0], [1, 1, 0], [1, 1, 1], [0, 2, 1]])
LABELS = torch.tensor([0, 1, 1, 1])


@pytest.mark.parametrize(("dialect", "top_k", "right"), [("ssd", 1, 2), ("ssd", 2, 4), ("bvlc", 1, 1), ("bvlc", 2, 3)])
def test_ties(dialect, top_k, right):
    """The SSD branch ranks the higher class first; in BVLC's Caffe every tie counts against the label."""
    layer = single("Accuracy", f"accuracy_param {{ top_k: {top_k} }}", (4, 3), (4,), dialect=dialect)
    assert layer(TIES, LABELS).item() == right / 4


@pytest.mark.parametrize(("dialect", "expected"), [("ssd", math.nan), ("bvlc", 0.0)])
def test_accuracy_of_nothing(dialect, expected):
    layer = single("Accuracy", "accuracy_param { ignore_label: 7 }", (4, 3), (4,), tops=2, dialect=dialect)
    accuracy, each = layer(TIES, torch.full((4,), 7))
    assert accuracy.item() == pytest.approx(expected, nan_ok=True)
    assert each.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dialect", ["ssd", "bvlc"])
@pytest.mark.parametrize("bad", [255, -1, 3])
def test_a_label_that_is_no_class_counts_as_wrong(dialect, bad):
    layer = single("Accuracy", "", (4, 3), (4,), tops=2, dialect=dialect)
    accuracy, each = layer(TIES, torch.tensor([bad, bad, bad, 1]))
    assert accuracy.item() == 0.25
    assert each.tolist() == [0, 1, 0]


def test_accuracy_has_no_gradient_and_takes_float_labels():
    layer = single("Accuracy", "", (4, 3), (4,))
    accuracy = layer(TIES.clone().requires_grad_(), LABELS.float())
    assert accuracy.item() == layer(TIES, LABELS).item()
    assert not accuracy.requires_grad


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("top_k: 4", "top_k 4 is more than the 3 classes on axis 1 of (4, 3)"),
        ("axis: 0", "scores of shape (4, 3) with classes on axis 0 need 3 labels (3,), got 4 of shape (4,)"),
        ("axis: 2", "axis 2 is out of range"),
    ],
)
def test_accuracy_refuses(body, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        single("Accuracy", f"accuracy_param {{ {body} }}", (4, 3), (4,))
