"""Neuron layers beyond the recorded cases, and what they refuse."""

from __future__ import annotations

import math

import pytest
import torch

from caffecompat.errors import SchemaError
from tests.layers.single import single

X = torch.tensor([[-3.0, -1.0, 0.0, 0.5, 2.0]])


def of(type_, body=""):
    return single(type_, body, tuple(X.shape))


def test_bottoms_are_left_alone():
    for type_ in ("ReLU", "ELU", "Sigmoid", "TanH", "AbsVal", "BNLL", "Power", "Exp", "Log", "Threshold", "Swish"):
        x = X.clone()
        of(type_)(x)
        assert torch.equal(x, X), type_


@pytest.mark.parametrize(
    ("power", "shift", "value"), [(0, 3, 1), (2, -3, 9), (0.5, 4, 2), (-1, 0, math.inf), (0.5, -1, math.nan)]
)
def test_a_power_of_a_constant(power, shift, value):
    top = of("Power", f"power_param {{ power: {power} scale: 0 shift: {shift} }}")(X)
    torch.testing.assert_close(top, torch.full_like(X, value), equal_nan=True)


def test_powers_by_pytorch():
    top = of("Power", "power_param { power: 3 scale: 2 shift: -1 }")(X)
    torch.testing.assert_close(top, (2 * X - 1) ** 3)


def test_exp_and_log_of_a_base_undo_each_other():
    exp = of("Exp", "exp_param { base: 3 scale: 0.5 shift: 2 }")(X)
    torch.testing.assert_close(exp, 3 ** (2 + 0.5 * X))
    torch.testing.assert_close(of("Log", "log_param { base: 3 }")(exp), 2 + 0.5 * X)


def test_dropout_scales_in_training_and_passes_in_test():
    layer = single("Dropout", "dropout_param { dropout_ratio: 0.75 }", (1, 10_000))
    x = torch.ones(1, 10_000)
    assert torch.equal(layer(x), x)
    torch.manual_seed(0)
    top = layer.train()(x)
    assert set(top.flatten().tolist()) == {0, 4}
    assert top.mean() == pytest.approx(1, abs=0.1)


def test_swish_of_any_beta():
    for beta in (1, 0.5):
        top = of("Swish", f"swish_param {{ beta: {beta} }}")(X)
        torch.testing.assert_close(top, X * torch.sigmoid(beta * X))


@pytest.mark.parametrize(
    ("type_", "body", "says"),
    [
        ("Exp", "exp_param { base: 0 }", "base must be above 0"),
        ("Exp", "exp_param { base: nan }", "base must be above 0"),
        ("Log", "log_param { base: -2 }", "base must be above 0"),
        ("Log", "log_param { base: inf }", "base must be above 0"),
        ("Log", "log_param { base: 1 }", "base must not be 1"),
        ("Dropout", "dropout_param { dropout_ratio: 1 }", "dropout_ratio must be"),
        ("Dropout", "dropout_param { dropout_ratio: -0.1 }", "dropout_ratio must be"),
        ("Dropout", "dropout_param { dropout_ratio: nan }", "dropout_ratio must be"),
        ("Clip", "", "clip_param.min is missing"),
    ],
)
def test_refused(type_, body, says):
    with pytest.raises(SchemaError, match=says) as error:
        of(type_, body)
    assert error.value.layer == "l"
