"""Concat, Slice, Crop, Split, Silence: what they refuse."""

from __future__ import annotations

import re

import pytest
import torch

from caffecompat.errors import ShapeError
from tests.layers.single import single


@pytest.mark.parametrize(
    ("body", "shapes", "message"),
    [
        (
            "",
            [(2, 3, 4), (2, 5, 4), (2, 5, 3)],
            'bottom "x2" has shape (2, 5, 3), which does not join shape (2, 3, 4) of "x0" along axis 1',
        ),
        ("", [(2, 3), (2, 3, 1)], "does not join"),
        ("concat_param { axis: 1 concat_dim: 1 }", [(2, 3), (2, 3)], "axis 1 and concat_dim 1 are both stated"),
        ("concat_param { concat_dim: 4294967295 }", [(2, 3), (2, 3)], "axis 4294967295 is out of range"),
        ("concat_param { axis: 2 }", [(2, 3), (2, 3)], "axis 2 is out of range for a blob of 2 axes"),
    ],
)
def test_concat_refuses(body, shapes, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        single("Concat", body, *shapes)


def test_concat_of_one_bottom():
    layer, x = single("Concat", "", (2, 3)), torch.rand(2, 3)
    assert layer.shapes((2, 3)) == ((2, 3),)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize(
    ("body", "tops", "message"),
    [
        ("", 4, "an axis of size 6 does not divide into 4 equal tops"),
        ("slice_param { slice_point: 2 }", 3, "3 tops need 2 slice_point, got 1"),
        ("slice_param { slice_point: 2 slice_point: 2 }", 3, "below the axis's size 6, got [2, 2]"),
        ("slice_param { slice_point: 0 }", 2, "got [0]"),
        ("slice_param { slice_point: 6 }", 2, "got [6]"),
        ("slice_param { slice_point: 5 slice_point: 3 }", 3, "got [5, 3]"),
        ("slice_param { axis: 1 slice_dim: 1 }", 2, "axis 1 and slice_dim 1 are both stated"),
    ],
)
def test_slice_refuses(body, tops, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        single("Slice", body, (2, 6), tops=tops)


def test_slice_dim():
    layer = single("Slice", "slice_param { slice_dim: 0 slice_point: 1 }", (4, 6), tops=2)
    assert layer.shapes((4, 6)) == ((1, 6), (3, 6))
    with pytest.raises(ShapeError, match="got \\[1\\]"):
        layer(torch.zeros(1, 6))


@pytest.mark.parametrize(
    ("body", "like", "message"),
    [
        ("axis: 1 offset: 1 offset: 1", (2, 3, 4, 5), "offset must be stated once or for each of the 3 axes cut"),
        ("axis: 2 offset: 3", (2, 3, 6, 5), "axis 2 of size 8 cannot be cut to size 6 from offset 3 on"),
        ("axis: 2 offset: 4294967295", (2, 3, 6, 5), "cannot be cut"),
        ("axis: 4", (2, 3, 4, 5), "axis 4 is out of range for a blob of 4 axes"),
        ("axis: 1", (2, 3, 4), "cannot cut shape (2, 3, 8, 7) to shape (2, 3, 4), which has fewer axes"),
    ],
)
def test_crop_refuses(body, like, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        single("Crop", f"crop_param {{ {body} }}", (2, 3, 8, 7), like)


def test_split_adds_gradients():
    layer, x = single("Split", "", (2, 3), tops=3), torch.rand(2, 3, requires_grad=True)
    assert layer.shapes((2, 3)) == ((2, 3),) * 3
    first, second, third = layer(x)
    (first.sum() + 2 * second.sum() + 4 * third.sum()).backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full((2, 3), 7.0))


def test_silence_gives_nothing():
    layer = single("Silence", "", (2, 3), (1,), tops=0)
    assert layer.shapes((2, 3), (1,)) == ()
    assert layer(torch.zeros(2, 3), torch.zeros(1)) == ()
