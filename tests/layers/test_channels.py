"""Axpy, ShuffleChannel and Padding against loops from the definition and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from caffecompat.errors import SchemaError, ShapeError
from tests.layers.exported import check_export
from tests.layers.single import single


def values(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


@pytest.mark.parametrize("factors", [(2, 3, 1, 1), (2, 3)])
def test_axpy_is_that_of_senet(factors):
    a, x, y = values(*factors), values(2, 3, 4, 5, seed=1), values(2, 3, 4, 5, seed=2)
    layer = single("Axpy", "", factors, (2, 3, 4, 5), (2, 3, 4, 5))
    expected = np.zeros((2, 3, 4, 5))
    for image in range(2):
        for channel in range(3):
            factor = a.view(2, 3)[image, channel].item()
            expected[image, channel] = factor * x[image, channel].numpy() + y[image, channel].numpy()
    assert layer.shapes(factors, tuple(x.shape), tuple(y.shape)) == ((2, 3, 4, 5),)
    np.testing.assert_allclose(layer(a, x, y).numpy(), expected, rtol=1e-12)


def test_axpy_refuses():
    with pytest.raises(ShapeError, match="expected factors of shape"):
        single("Axpy", "", (2, 3, 4, 5), (2, 3, 1, 1), (2, 3, 4, 5))
    with pytest.raises(ShapeError, match="same shape"):
        single("Axpy", "", (2, 3, 1, 1), (2, 3, 4, 5), (2, 3, 4, 1))
    with pytest.raises(ShapeError, match="expected factors"):
        single("Axpy", "", (2, 4), (2, 3, 4, 5), (2, 3, 4, 5))


@pytest.mark.parametrize("group", [1, 2, 3, 6])
def test_shuffle(group):
    x = values(2, 6, 4, 5)
    layer = single("ShuffleChannel", f"shuffle_channel_param {{ group: {group} }}", (2, 6, 4, 5))
    expected = np.zeros((2, 6, 4, 5))
    for row in range(group):
        for column in range(6 // group):
            expected[:, column * group + row] = x[:, row * (6 // group) + column]
    np.testing.assert_array_equal(layer(x).numpy(), expected)
    torch.testing.assert_close(layer(x), functional.channel_shuffle(x, group))
    assert layer.shapes((2, 6, 4, 5)) == ((2, 6, 4, 5),)


def test_shuffle_refuses():
    with pytest.raises(ShapeError, match="group 4 does not divide"):
        single("ShuffleChannel", "shuffle_channel_param { group: 4 }", (2, 6, 4, 5))
    with pytest.raises(SchemaError, match="at least 1"):
        single("ShuffleChannel", "shuffle_channel_param { group: 0 }", (2, 6, 4, 5))


def test_padding():
    x = values(2, 3, 4, 5)
    param = "padding_param { pad_method: CONSTANT pad_l: 1 pad_r: 2 pad_t: 3 pad_b: 4 pad_value: -25 }"
    layer = single("Padding", param, (2, 3, 4, 5))
    expected = np.full((2, 3, 11, 8), -25.0)
    expected[:, :, 3:7, 1:6] = x
    np.testing.assert_array_equal(layer(x).numpy(), expected)
    assert layer.shapes((2, 3, 4, 5)) == ((2, 3, 11, 8),)
    assert torch.equal(single("Padding", "", (2, 3, 4, 5))(x), x)
    with pytest.raises(ShapeError, match="4 axes"):
        single("Padding", param, (2, 3))


@pytest.mark.parametrize(
    ("type_", "param", "shapes"),
    [
        ("Axpy", "", [(2, 4, 1, 1), (2, 4, 3, 2), (2, 4, 3, 2)]),
        ("ShuffleChannel", "shuffle_channel_param { group: 2 }", [(2, 4, 3, 2)]),
        ("Padding", "padding_param { pad_l: 1 pad_b: 2 pad_value: 5 }", [(2, 4, 3, 2)]),
    ],
)
def test_gradients_and_export(type_, param, shapes):
    bottoms = [values(*shape, seed=seed).requires_grad_() for seed, shape in enumerate(shapes)]
    layer = single(type_, param, *shapes)
    assert torch.autograd.gradcheck(layer, bottoms)
    check_export(layer, *(bottom.detach().float() for bottom in bottoms))
