"""Filter, BatchReindex, Parameter."""

from __future__ import annotations

import pytest
import torch

from caffecompat.errors import CaffeCompatError, GraphError, ShapeError
from tests.layers.single import single


def test_filter_keeps_what_is_selected():
    layer = single("Filter", "", (4, 2), (4,), (4, 1, 1), tops=2)
    assert layer.shapes((4, 2), (4,), (4, 1, 1)) == ((4, 2), (4,))
    x = torch.arange(8.0).reshape(4, 2).requires_grad_()
    first, second = layer(x, torch.arange(4.0), torch.tensor([0, -1.0, 0, 0.5]).reshape(4, 1, 1))
    assert first.tolist() == [[2, 3], [6, 7]]
    assert second.tolist() == [1, 3]
    first.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 0], [1, 1], [0, 0], [1, 1]]


def test_filter_of_nothing():
    layer = single("Filter", "", (4, 2), (4,))
    assert layer(torch.zeros(4, 2), torch.zeros(4))[0].shape == (0, 2)


@pytest.mark.parametrize(
    ("shapes", "tops", "kind", "message"),
    [
        ([(4, 2), (4, 2)], 1, ShapeError, "the selector must have one value an item, got shape \\(4, 2\\)"),
        ([(4, 2), (3,)], 1, ShapeError, 'the selector chooses among 3 items; "x0" has shape \\(4, 2\\)'),
        ([(4, 2), (4,)], 2, GraphError, "got 2 bottoms, 2 tops"),
    ],
)
def test_filter_refuses(shapes, tops, kind, message):
    with pytest.raises(kind, match=message):
        single("Filter", "", *shapes, tops=tops)


@pytest.mark.parametrize("kind", [torch.float32, torch.int64])
def test_batch_reindex_adds_the_gradients_of_copies(kind):
    layer = single("BatchReindex", "", (3, 2), (4,))
    assert layer.shapes((3, 2), (4,)) == ((4, 2),)
    x = torch.arange(6.0).reshape(3, 2).requires_grad_()
    top = layer(x, torch.tensor([2, 0, 2, 2], dtype=kind))
    assert top.tolist() == [[4, 5], [0, 1], [4, 5], [4, 5]]
    top.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[1, 1], [0, 0], [3, 3]]


@pytest.mark.parametrize("item", [3, -1])
def test_batch_reindex_refuses_an_item_that_is_not_there(item):
    layer = single("BatchReindex", "", (3, 2), (2,))
    with pytest.raises(CaffeCompatError, match=f"item {item} is asked for; there are items 0..2"):
        layer(torch.zeros(3, 2), torch.tensor([0, item]))


def test_batch_reindex_refuses_a_shape():
    with pytest.raises(ShapeError, match="the second bottom must have one axis"):
        single("BatchReindex", "", (3, 2), (2, 1))


def test_parameter():
    layer = single("Parameter", "parameter_param { shape { dim: 2 dim: 3 } }")
    assert layer.shapes() == ((2, 3),)
    assert torch.equal(layer(), torch.zeros(2, 3))
    assert [name for name, _ in layer.named_parameters()] == ["0"]


@pytest.mark.parametrize("shape", ["dim: 65536 dim: 65536", "dim: -1", "dim: 0 dim: 2147483647 dim: 2147483647 dim: 3"])
def test_parameter_refuses_a_shape(shape):
    with pytest.raises(ShapeError, match="at most 2147483647 values"):
        single("Parameter", f"parameter_param {{ shape {{ {shape} }} }}")
