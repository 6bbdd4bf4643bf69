"""Resize and Resample against loops from the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from caffecompat.errors import CaffeCompatWarning, SchemaError, ShapeError, UnsupportedError
from tests.layers.single import single

F = np.float32


def naive_resize(x, height, width):
    top = np.zeros((*x.shape[:2], height, width))
    source_h, source_w = x.shape[2:]
    for row in range(height):
        for column in range(width):
            y, at = F(row) * (F(source_h) / F(height)), F(column) * (F(source_w) / F(width))
            r, c = math.floor(y), math.floor(at)
            for dr, weight_r in ((0, 1 - (y - r)), (1, y - r)):
                for dc, weight_c in ((0, 1 - (at - c)), (1, at - c)):
                    if r + dr < source_h and c + dc < source_w:
                        top[:, :, row, column] += weight_r * weight_c * x[:, :, r + dr, c + dc]
    return top


@pytest.mark.parametrize("size", [(8, 10), (3, 4), (5, 7), (11, 2), (1, 1)])
def test_resize(size):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 7))
    layer = single("Resize", f"resize_param {{ height: {size[0]} width: {size[1]} }}", x.shape)
    top = layer(torch.tensor(x))
    assert layer.shapes(x.shape) == (tuple(top.shape),) == ((2, 3, *size),)
    np.testing.assert_allclose(top.numpy(), naive_resize(x, *size), rtol=1e-5, atol=1e-6)


def test_resize_by_scales():
    x = np.random.default_rng(1).normal(size=(1, 2, 5, 7))
    scales = "is_pyramid_test: true out_height_scale: 1.5 out_width_scale: 0.5"
    layer = single("Resize", f"resize_param {{ {scales} }}", x.shape)
    assert layer.shapes(x.shape) == ((1, 2, 7, 3),)
    np.testing.assert_allclose(layer(torch.tensor(x)).numpy(), naive_resize(x, 7, 3), rtol=1e-5, atol=1e-6)


def c_round(value):
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def keys(distance):
    x = abs(distance)
    if x <= 1:
        return x * x * (1.5 * x - 2.5) + 1
    return x * (x * (-0.5 * x + 2.5) - 4) + 2 if x < 2 else 0.0


def triangle(distance):
    return max(0.0, 1 - abs(distance))


def naive_resample(x, height, width, kind, antialias):
    """FlowNet2's kernels, one output at a time."""
    source_h, source_w = x.shape[2:]
    top = np.zeros((*x.shape[:2], height, width))
    fx, fy = F(source_w) / F(width), F(source_h) / F(height)
    antialias = antialias and (fx > 1 or fy > 1)
    ax, ay = (F(1) / (f if antialias else F(1)) for f in (fx, fy))
    weight, reach = (keys, 4) if kind == "CUBIC" else (triangle, 2)
    rx, ry = (2 if f < 1 else math.ceil(F(reach) / a) for f, a in ((fx, ax), (fy, ay)))
    for row in range(height):
        for column in range(width):
            x_in, y_in = F(column) * fx + fy / 2 - F(0.5), F(row) * fy + fx / 2 - F(0.5)
            x_near, y_near = c_round(x_in), c_round(y_in)
            if kind == "NEAREST":
                y, at = min(max(y_near, 0), source_h - 1), min(max(x_near, 0), source_w - 1)
                top[:, :, row, column] = x[:, :, y, at]
                continue
            total, weights = 0, 0.0
            for y in range(max(y_near - ry, 0), min(y_near + ry + 1, source_h)):
                for at in range(max(x_near - rx, 0), min(x_near + rx + 1, source_w)):
                    w = ax * weight(ax * (x_in - at)) * ay * weight(ay * (y_in - y))
                    total, weights = total + w * x[:, :, y, at], weights + w
            top[:, :, row, column] = total / weights if weights else 0
    return top


@pytest.mark.parametrize("antialias", [False, True])
@pytest.mark.parametrize("kind", ["NEAREST", "LINEAR", "CUBIC"])
@pytest.mark.parametrize("size", [(12, 14), (3, 3), (2, 9), (9, 2), (6, 7), (6, 3)])
def test_resample(size, kind, antialias):
    x = np.random.default_rng(2).normal(size=(2, 3, 6, 7))
    body = f"resample_param {{ height: {size[0]} width: {size[1]} type: {kind} antialias: {str(antialias).lower()} }}"
    layer = single("Resample", body, x.shape)
    top = layer(torch.tensor(x))
    assert layer.shapes(x.shape) == (tuple(top.shape),) == ((2, 3, *size),)
    wanted = naive_resample(x, *size, kind, antialias)
    np.testing.assert_allclose(top.numpy(), wanted, rtol=1e-4, atol=1e-5)


def test_resample_to_the_size_of_a_second_bottom():
    layer = single("Resample", "resample_param { type: NEAREST }", (1, 2, 3, 4), (5, 1, 6, 8))
    x = torch.randn(1, 2, 3, 4)
    top = layer(x, torch.zeros(5, 1, 6, 8))
    assert layer.shapes((1, 2, 3, 4), (5, 1, 6, 8)) == (tuple(top.shape),)
    torch.testing.assert_close(top, x.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_what_flownet_ignores_is_told():
    with pytest.warns(CaffeCompatWarning, match="factor is ignored"):
        single("Resample", "resample_param { height: 1 width: 1 factor: 2 }", (1, 1, 2, 2))


@pytest.mark.parametrize(
    ("type_", "body", "shape", "kind", "message"),
    [
        ("Resize", "", (1, 1, 2, 2), SchemaError, "needs height and width"),
        ("Resize", "resize_param { height: 0 width: 1 }", (1, 1, 2, 2), SchemaError, "needs height and width"),
        ("Resize", "resize_param { height: 4 width: 4 }", (1, 2, 2), ShapeError, r"shape \(N, C, H, W\)"),
        ("Resize", "resize_param { is_pyramid_test: true }", (1, 1, 2, 2), SchemaError, "out_height_scale"),
        (
            "Resize",
            "resize_param { is_pyramid_test: true out_height_scale: 0.1 out_width_scale: 1 }",
            (1, 1, 2, 2),
            ShapeError,
            "would become 0 x 2",
        ),
        ("Resample", "", (1, 1, 2, 2), SchemaError, "needs height and width"),
        ("Resample", "resample_param { height: 4 width: 4 type: AREA }", (1, 1, 2, 2), UnsupportedError, "AREA"),
        ("Resample", "resample_param { height: 4 width: 4 }", (1, 2, 2), ShapeError, r"shape \(N, C, H, W\)"),
        ("Resample", "resample_param { height: 4000000000 width: 4 }", (1, 1, 2, 2), ShapeError, "values are possible"),
    ],
)
def test_refuses(type_, body, shape, kind, message):
    with pytest.raises(kind, match=message):
        single(type_, body, shape)


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        ("Resize", "resize_param { height: 5 width: 3 }"),
        ("Resample", "resample_param { height: 5 width: 2 type: CUBIC }"),
        ("Resample", "resample_param { height: 2 width: 6 }"),
        ("Resample", "resample_param { height: 6 width: 6 type: NEAREST }"),
    ],
)
def test_gradients(type_, body):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(single(type_, body, x.shape), (x,))
