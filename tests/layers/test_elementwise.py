"""Eltwise, Reduction, ArgMax: ties, gradients, what they refuse."""

from __future__ import annotations

import re

import pytest
import torch

from caffecompat.errors import ShapeError
from tests.layers.single import single

BLOB = (2, 3)


@pytest.mark.parametrize(
    ("body", "shapes", "message"),
    [
        ("", [BLOB, (2, 1)], 'all bottoms must have one shape: "x0" has (2, 3), "x1" has (2, 1)'),
        ("coeff: 1", [BLOB, BLOB], "coeff must be stated for each of the 2 bottoms or not at all, got [1.0]"),
        ("operation: PROD coeff: 1 coeff: 2", [BLOB, BLOB], "got operation PROD with coeff [1.0, 2.0]"),
    ],
)
def test_eltwise_refuses(body, shapes, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        single("Eltwise", f"eltwise_param {{ {body} }}", *shapes)


def test_eltwise_never_broadcasts():
    layer = single("Eltwise", "", BLOB, BLOB)
    with pytest.raises(ShapeError, match="all bottoms must have one shape"):
        layer(torch.zeros(2, 3), torch.zeros(1, 3))


def test_max_gives_the_gradient_of_equal_values_to_one_bottom():
    """Caffe: of the first two the second, a later one only if it is greater."""
    layer = single("Eltwise", "eltwise_param { operation: MAX }", (4,), (4,), (4,))
    bottoms = [torch.tensor(v, requires_grad=True) for v in ([1.0, 1, 2, 0], [1.0, 0, 2, 0], [1.0, 1, 0, 3])]
    layer(*bottoms).sum().backward()
    found = [bottom.grad.tolist() for bottom in bottoms if bottom.grad is not None]
    assert found == [[0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]


@pytest.mark.parametrize("stable", ["true", "false"])
def test_prod_has_a_gradient_where_a_bottom_is_zero(stable):
    layer = single("Eltwise", f"eltwise_param {{ operation: PROD stable_prod_grad: {stable} }}", (2,), (2,), (2,))
    bottoms = [torch.tensor(v, requires_grad=True) for v in ([0.0, 2.0], [3.0, 0.0], [5.0, 0.0])]
    layer(*bottoms).sum().backward()
    found = [bottom.grad.tolist() for bottom in bottoms if bottom.grad is not None]
    assert found == [[15, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize("body", ["coeff: 2 coeff: -0.5 coeff: 0", "operation: PROD", "operation: MAX", ""])
def test_eltwise_gradients(body):
    torch.manual_seed(1)
    layer = single("Eltwise", f"eltwise_param {{ {body} }}", BLOB, BLOB, BLOB)
    bottoms = [torch.rand(BLOB, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(layer, bottoms)


@pytest.mark.parametrize("operation", ["SUM", "ASUM", "SUMSQ", "MEAN"])
def test_reduction_gradients(operation):
    torch.manual_seed(1)
    layer = single("Reduction", f"reduction_param {{ operation: {operation} axis: -2 coeff: -1.5 }}", (2, 3, 4))
    assert layer.shapes((2, 3, 4)) == ((2,),)
    assert torch.autograd.gradcheck(layer, torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True))


def test_reduction_refuses():
    with pytest.raises(ShapeError, match="axis 2 is out of range for a blob of 2 axes"):
        single("Reduction", "reduction_param { axis: 2 }", BLOB)


@pytest.mark.parametrize(
    ("body", "values", "top"),
    [
        ("", [[2.0, 5, 5, 1]], [[[2.0]]]),
        ("top_k: 3", [[5.0, 2, 5, 2]], [[[2.0, 0, 3]]]),
        ("top_k: 3 out_max_val: true", [[5.0, 2, 5, 2]], [[[2.0, 0, 3], [5, 5, 2]]]),
        ("axis: 0", [[1.0, 2], [1, 1]], [[1.0, 0]]),
        ("axis: 0 top_k: 2", [[1.0, 2], [1, 1]], [[1.0, 0], [0, 1]]),
        ("axis: -1 out_max_val: true", [[1.0, 2], [1, 1]], [[2.0], [1]]),
    ],
)
def test_argmax_takes_the_higher_of_equal_places(body, values, top):
    x, expected = torch.tensor(values), torch.tensor(top)
    layer = single("ArgMax", f"argmax_param {{ {body} }}", tuple(x.shape))
    assert torch.equal(layer(x), expected)
    assert layer.shapes(tuple(x.shape)) == (tuple(expected.shape),)


@pytest.mark.parametrize("shape", [(2,), (0,), (2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 2, 2)])
def test_argmax_has_three_axes_or_as_many_as_its_bottom(shape):
    layer = single("ArgMax", "", shape)
    assert layer.shapes(shape) == ((shape[0], 1, 1) + (1,) * (len(shape) - 3),)
    assert (tuple(layer(torch.rand(shape)).shape),) == layer.shapes(shape)


def test_argmax_places_stay_exact_in_half_precision():
    x = torch.zeros(1, 5000, dtype=torch.bfloat16)
    x[0, 4999] = 1
    assert single("ArgMax", "", (1, 5000))(x).item() == 4999


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("top_k: 0", "top_k must be within 1..3 for shape (2, 3), got 0"),
        ("top_k: 4", "top_k must be within 1..3 for shape (2, 3), got 4"),
        ("axis: 0 top_k: 3", "top_k must be within 1..2 for shape (2, 3), got 3"),
        ("axis: -3", "axis -3 is out of range"),
    ],
)
def test_argmax_refuses(body, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        single("ArgMax", f"argmax_param {{ {body} }}", BLOB)
