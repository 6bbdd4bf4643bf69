"""FlowWarp and Correlation against loops from FlowNet2's definitions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from caffecompat.errors import CaffeCompatWarning, SchemaError, ShapeError
from tests.layers.single import single


def naive_warp(picture, flow, fill):
    """The warped picture, and the gradients of its sum weighed by 1, 2, 3, ... as the original's backward has them."""
    items, channels, height, width = picture.shape
    top = np.full(picture.shape, fill)
    diff = np.arange(1.0, picture.size + 1).reshape(picture.shape)
    d_picture, d_flow = np.zeros_like(picture), np.zeros_like(flow)
    for n, y, x in itertools.product(range(items), range(height), range(width)):
        x2, y2 = x + flow[n, 0, y, x], y + flow[n, 1, y, x]
        if not (0 <= x2 < width and 0 <= y2 < height):
            continue
        left, up = int(x2), int(y2)
        right, down = min(left + 1, width - 1), min(up + 1, height - 1)
        a, b = x2 - left, y2 - up
        for c in range(channels):
            image, g = picture[n, c], diff[n, c, y, x]
            corners = (((1 - a) * (1 - b), up, left), (a * (1 - b), up, right))
            corners += (((1 - a) * b, down, left), (a * b, down, right))
            top[n, c, y, x] = sum(weight * image[at] for weight, *place in corners for at in [tuple(place)])
            for weight, *place in corners:
                d_picture[(n, c, *place)] += g * weight
            gamma = down - y2
            upper, lower = image[up, right] - image[up, left], image[down, right] - image[down, left]
            d_flow[n, 0, y, x] += g * (gamma * upper + (1 - gamma) * lower)
            gamma = right - x2
            first, last = image[down, left] - image[up, left], image[down, right] - image[up, right]
            d_flow[n, 1, y, x] += g * (gamma * first + (1 - gamma) * last)
    return top, d_picture, d_flow


@pytest.mark.parametrize("fill", ["ZERO", "NOT_A_NUMBER"])
def test_warp(fill):
    rng = np.random.default_rng(0)
    picture, flow = rng.normal(size=(2, 3, 6, 7)), rng.uniform(-4, 4, size=(2, 2, 6, 7))
    flow[0, :, 0, 0], flow[0, :, 2, 3] = 0, (2, 1)
    flow[0, 0, 1, 2] = 4.5  # between the last column and the border
    layer = single("FlowWarp", f"flow_warp_param {{ fill_value: {fill} }}", picture.shape, flow.shape)
    bottoms = [torch.tensor(blob, requires_grad=True) for blob in (picture, flow)]
    top = layer(*bottoms)
    assert layer.shapes(picture.shape, flow.shape) == (tuple(top.shape),)
    wanted, d_picture, d_flow = naive_warp(picture, flow, 0.0 if fill == "ZERO" else math.nan)
    np.testing.assert_allclose(top.detach().numpy(), wanted, rtol=1e-12, atol=1e-12)
    top.backward(torch.arange(1, top.numel() + 1, dtype=top.dtype).view(top.shape))
    np.testing.assert_allclose(bottoms[0].grad.numpy(), d_picture, rtol=1e-10, atol=1e-9)
    np.testing.assert_allclose(bottoms[1].grad.numpy(), d_flow, rtol=1e-10, atol=1e-9)


def test_a_flow_of_nan_leads_outside_and_spoils_no_gradient():
    layer = single("FlowWarp", "", (1, 1, 2, 2), (1, 2, 2, 2))
    picture, flow = torch.ones(1, 1, 2, 2, requires_grad=True), torch.zeros(1, 2, 2, 2)
    flow[0, 0, 0, 0], flow[0, 1, 1, 1] = math.nan, math.inf
    flow.requires_grad_()
    top = layer(picture, flow)
    assert top.flatten().tolist() == [0, 1, 1, 0]
    top.sum().backward()
    assert picture.grad.isfinite().all()
    assert flow.grad.isfinite().all()


def naive_correlation(first, second, pad, kernel, reach, stride, step, subtract):
    """The top, and a function of its gradient that gives the bottoms': the original's kernels, term by term."""
    items, channels, height, width = first.shape
    a, b = (np.pad(blob, ((0, 0), (0, 0), (pad, pad), (pad, pad))) for blob in (first, second))
    border, radius = reach + (kernel - 1) // 2, reach // step
    rows, columns = (math.ceil((size + 2 * pad - 2 * border) / stride) for size in (height, width))
    across = 2 * radius + 1
    top = np.zeros((items, across**2, rows, columns))
    terms = []
    for n, d, y, x in itertools.product(*map(range, top.shape)):
        dx, dy = (d % across - radius) * step, (d // across - radius) * step
        for j, i, c in itertools.product(range(kernel), range(kernel), range(channels)):
            own = (n, c, y * stride + reach + j, x * stride + reach + i)
            other = (n, c, own[2] + dy, own[3] + dx)
            top[n, d, y, x] += abs(a[own] - b[other]) if subtract else a[own] * b[other]
            terms.append(((n, d, y, x), own, other))
    size = kernel * kernel * channels

    def backward(grad):
        d_a, d_b = np.zeros_like(a), np.zeros_like(b)
        for at, own, other in terms:
            if subtract:
                d_a[own] += grad[at] * (1 if a[other] >= b[other] else -1)
                d_b[other] += grad[at] * (-1 if a[own] >= b[own] else 1)
            else:
                d_a[own] += grad[at] * b[other]
                d_b[other] += grad[at] * a[own]
        inner = (slice(None), slice(None), slice(pad, pad + height), slice(pad, pad + width))
        return d_a[inner] / size, d_b[inner] / size

    return top / size, backward


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize(
    ("pad", "kernel", "reach", "stride", "step"),
    [(2, 1, 2, 1, 1), (3, 3, 2, 2, 1), (4, 1, 4, 1, 2), (3, 3, 3, 3, 2), (0, 1, 1, 2, 1), (1, 1, 0, 1, 1)],
)
def test_correlation(pad, kernel, reach, stride, step, subtract):
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 2, 3, 5, 6))
    body = (
        f"correlation_param {{ pad: {pad} kernel_size: {kernel} max_displacement: {reach} stride_1: {stride} "
        f"stride_2: {step} correlation_type: {'SUBTRACT' if subtract else 'MULTIPLY'} }}"
    )
    layer = single("Correlation", body, first.shape, second.shape)
    bottoms = [torch.tensor(blob, requires_grad=True) for blob in (first, second)]
    top = layer(*bottoms)
    assert layer.shapes(first.shape, second.shape) == (tuple(top.shape),)
    wanted, backward = naive_correlation(first, second, pad, kernel, reach, stride, step, subtract)
    np.testing.assert_allclose(top.detach().numpy(), wanted, rtol=1e-10, atol=1e-12)
    grad = rng.normal(size=top.shape)
    top.backward(torch.tensor(grad))
    for bottom, wanted_grad in zip(bottoms, backward(grad), strict=True):
        np.testing.assert_allclose(bottom.grad.numpy(), wanted_grad, rtol=1e-10, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(layer(*bottoms), top.detach())


def test_gradients():
    torch.manual_seed(0)
    first, second = (torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    body = "correlation_param { pad: 2 kernel_size: 3 max_displacement: 2 stride_2: 2 }"
    assert torch.autograd.gradcheck(single("Correlation", body, first.shape, second.shape), (first, second))
    flow = torch.rand(1, 2, 4, 4, dtype=torch.float64) * 0.8 + 0.1
    assert torch.autograd.gradcheck(single("FlowWarp", "", first.shape, flow.shape), (first, flow.requires_grad_()))


def test_do_abs_is_told_to_do_nothing():
    body = "correlation_param { kernel_size: 1 max_displacement: 0 do_abs: true }"
    with pytest.warns(CaffeCompatWarning, match="do_abs is ignored"):
        layer = single("Correlation", body, (1, 1, 2, 2), (1, 1, 2, 2))
    assert layer(torch.ones(1, 1, 2, 2), -torch.ones(1, 1, 2, 2)).eq(-1).all()


@pytest.mark.parametrize(
    ("type_", "body", "shapes", "kind", "message"),
    [
        ("FlowWarp", "", [(1, 3, 4, 5), (1, 3, 4, 5)], ShapeError, r"a flow \(N, 2, H, W\)"),
        ("FlowWarp", "", [(1, 3, 4, 5), (1, 2, 4, 4)], ShapeError, r"a flow \(N, 2, H, W\)"),
        ("Correlation", "", [(1, 1, 4, 4)] * 2, SchemaError, "needs kernel_size and max_displacement"),
        ("Correlation", "kernel_size: 2 max_displacement: 1", [(1, 1, 4, 4)] * 2, SchemaError, "odd kernel_size"),
        ("Correlation", "kernel_size: 1 max_displacement: 1 stride_2: 0", [(1, 1, 4, 4)] * 2, SchemaError, "strides"),
        ("Correlation", "kernel_size: 1 max_displacement: 2", [(1, 1, 4, 4)] * 2, ShapeError, "do not fit"),
        ("Correlation", "kernel_size: 1 max_displacement: 1", [(1, 1, 4, 4), (1, 1, 4, 5)], ShapeError, "one shape"),
        (
            "Correlation",
            "kernel_size: 1 max_displacement: 100000 pad: 100000 stride_2: 100000",
            [(1, 1, 4, 4)] * 2,
            ShapeError,
            "padded bottoms",
        ),
    ],
)
def test_refuses(type_, body, shapes, kind, message):
    body = f"correlation_param {{ {body} }}" if body else ""
    with pytest.raises(kind, match=message):
        single(type_, body, *shapes)
