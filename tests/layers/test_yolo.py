"""Reorg and Region against loops from the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.errors import SchemaError, ShapeError
from tests.layers.single import single


def naive_reorg(x, stride, reverse):
    """Darknet's loop over indices into flat arrays."""
    items, channels, height, width = x.shape
    inner = channels // (stride * stride)
    flat, top = x.reshape(-1), np.zeros(x.size)
    for n in range(items):
        for k in range(channels):
            for j in range(height):
                for i in range(width):
                    small = i + width * (j + height * (k + channels * n))
                    c, offset = k % inner, k // inner
                    column, row = i * stride + offset % stride, j * stride + offset // stride
                    large = column + width * stride * (row + height * stride * (c + inner * n))
                    if reverse:
                        top[large] = flat[small]
                    else:
                        top[small] = flat[large]
    if reverse:
        return top.reshape(items, inner, height * stride, width * stride)
    return top.reshape(items, channels * stride * stride, height // stride, width // stride)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    ("shape", "stride"), [((2, 8, 4, 6), 2), ((1, 9, 3, 6), 3), ((1, 64, 26, 26), 2), ((1, 2, 3, 3), 1)]
)
def test_reorg(shape, stride, reverse):
    x = np.random.default_rng(0).normal(size=shape)
    layer = single("Reorg", f"reorg_param {{ stride: {stride} reverse: {str(reverse).lower()} }}", shape)
    top = layer(torch.tensor(x))
    assert layer.shapes(shape) == (tuple(top.shape),)
    np.testing.assert_array_equal(top.numpy(), naive_reorg(x, stride, reverse))


@pytest.mark.parametrize(
    ("body", "shape", "kind", "message"),
    [
        ("", (1, 4, 2, 2), SchemaError, "stride of at least 1"),
        ("reorg_param { stride: 2 }", (1, 6, 2, 2), ShapeError, "multiples of 4"),
        ("reorg_param { stride: 2 }", (1, 4, 2), ShapeError, "multiples of 4"),
        ("reorg_param { stride: 2 }", (1, 4, 3, 2), ShapeError, "multiples of stride 2"),
        ("reorg_param { stride: 4000000000 }", (1, 4, 2, 2), ShapeError, "channels"),
    ],
)
def test_reorg_refuses(body, shape, kind, message):
    with pytest.raises(kind, match=message):
        single("Reorg", body, shape)


def naive_region(x, num, coords, classes, softmax):
    top = x.copy()
    for n in range(x.shape[0]):
        for box in range(num):
            first = box * (coords + 1 + classes)
            for row in range(x.shape[2]):
                for column in range(x.shape[3]):
                    cell = top[n, :, row, column]
                    for entry in (first, first + 1, first + coords):
                        cell[entry] = 1 / (1 + np.exp(-cell[entry]))
                    if softmax:
                        scores = slice(first + coords + 1, first + coords + 1 + classes)
                        powers = np.exp(cell[scores] - cell[scores].max())
                        cell[scores] = powers / powers.sum()
    return top


@pytest.mark.parametrize(
    ("body", "numbers"),
    [
        ('region_param { anchors: "1,2,3,4" classes: 3 num: 2 }', (2, 4, 3, True)),
        ("region_param { classes: 2 num: 3 coords: 2 softmax: 0 }", (3, 2, 2, False)),
        ("region_loss_param { num_class: 3 num: 2 biases: 1 }", (2, 4, 3, True)),
        ("", (5, 4, 20, True)),
    ],
)
def test_region(body, numbers):
    num, coords, classes, _ = numbers
    shape = (2, num * (coords + 1 + classes), 3, 4)
    x = np.random.default_rng(1).normal(size=shape) * 3
    layer = single("Region", body, shape)
    top = layer(torch.tensor(x))
    assert layer.shapes(shape) == (shape,) == (tuple(top.shape),)
    np.testing.assert_allclose(top.numpy(), naive_region(x, *numbers), rtol=1e-12)


@pytest.mark.parametrize(
    ("body", "shape", "kind", "message"),
    [
        ("region_param { num: 2 classes: 3 }", (1, 17, 2, 2), ShapeError, r"\(N, 16, H, W\) for 2 boxes"),
        ("region_param { num: 0 }", (1, 17, 2, 2), SchemaError, "at least 1"),
        ("region_param { coords: 1 }", (1, 17, 2, 2), SchemaError, "coords of at least 2"),
        ("region_param { num: 2 } region_loss_param { num: 2 }", (1, 50, 2, 2), SchemaError, "both region_param"),
    ],
)
def test_region_refuses(body, shape, kind, message):
    with pytest.raises(kind, match=message):
        single("Region", body, shape)


@pytest.mark.parametrize(
    ("type_", "body", "shape"),
    [
        ("Reorg", "reorg_param { stride: 2 }", (1, 4, 2, 4)),
        ("Reorg", "reorg_param { stride: 2 reverse: true }", (1, 4, 2, 3)),
        ("Region", "region_param { num: 2 classes: 2 }", (1, 14, 2, 2)),
    ],
)
def test_gradients(type_, body, shape):
    torch.manual_seed(0)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(single(type_, body, shape), (x,))
