"""ReLU6, Mish, HardSwish and Sign against their formulas and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.layers.exported import check_export
from tests.layers.single import single

X = np.concatenate([np.linspace(-30, 30, 241), [0.0, 3.0, -3.0, 6.0]])

CASES = {
    "ReLU6": (lambda x: np.clip(x, 0, 6), functional.relu6),
    "Mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), functional.mish),
    "HardSwish": (lambda x: x * np.clip(x + 3, 0, 6) / 6, functional.hardswish),
    "Sign": (np.sign, torch.sign),
}


@pytest.mark.parametrize("type_", CASES)
def test_values(type_):
    formula, torchs = CASES[type_]
    x = torch.tensor(X).view(1, -1)
    layer = single(type_, "", tuple(x.shape))
    before = x.clone()
    top = layer(x)
    assert torch.equal(x, before)
    assert layer.shapes(tuple(x.shape)) == (tuple(top.shape),)
    np.testing.assert_allclose(top.numpy()[0], formula(X), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(top, torchs(x))


def test_relu6_of_a_slope():
    top = single("ReLU6", "relu6_param { negative_slope: 0.5 }", (1, 4))(torch.tensor([[-4.0, 0.0, 5.0, 7.0]]))
    assert top.tolist() == [[-2, 0, 5, 6]]


@pytest.mark.parametrize("type_", CASES)
def test_gradients_and_export(type_):
    # Away from the kinks at -3, 0, 3 and 6.
    x = torch.tensor([[-7.1, -2.3, -0.4, 0.6, 2.2, 4.4, 8.5]], dtype=torch.float64, requires_grad=True)
    layer = single(type_, "", (1, 7))
    assert torch.autograd.gradcheck(layer, (x,))
    check_export(layer, x.detach().float().repeat(2, 1))


def test_sign_has_no_gradient():
    x = torch.tensor([[-2.0, 0.0, 3.0]], requires_grad=True)
    single("Sign", "", (1, 3))(x).sum().backward()
    assert not x.grad.any()
