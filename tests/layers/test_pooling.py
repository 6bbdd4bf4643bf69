"""Pooling beyond the recorded cases: against a plain model of Caffe's loops, and what it refuses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from caffecompat.errors import SchemaError, ShapeError
from tests.layers.single import single

LOWEST = float(np.finfo(np.float32).min)


def model(x, method, kernel, stride, pad, ceil):
    """Caffe's loops over one channel: the pooled values and the index of each greatest."""
    height, width = x.shape
    counts = []
    for size, k, s, p in zip(x.shape, kernel, stride, pad, strict=True):
        span = (size + 2 * p - k) / s
        count = (math.ceil(span) if ceil else math.floor(span)) + 1
        if max(pad) > 0 and (count - 1) * s >= size + p:
            count -= 1
        counts.append(count)
    top, mask = np.full(counts, LOWEST, np.float32), np.full(counts, -1, np.float32)
    for row, column in itertools.product(*map(range, counts)):
        first = (row * stride[0] - pad[0], column * stride[1] - pad[1])
        last = (min(first[0] + kernel[0], height + pad[0]), min(first[1] + kernel[1], width + pad[1]))
        places = [
            (i, j)
            for i in range(max(first[0], 0), min(last[0], height))
            for j in range(max(first[1], 0), min(last[1], width))
        ]
        if method == "AVE":
            area = (last[0] - first[0]) * (last[1] - first[1])
            with np.errstate(all="ignore"):
                top[row, column] = np.float32(sum(x[place] for place in places)) / np.float32(area)
            continue
        for i, j in places:
            if x[i, j] > top[row, column]:
                top[row, column], mask[row, column] = x[i, j], i * width + j
    return top, mask


def windows():
    random = np.random.RandomState(0)
    for _ in range(150):
        kernel = tuple(random.randint(1, 6, 2))
        stride = tuple(random.randint(1, 7, 2))
        pad = tuple(random.randint(0, k) if random.rand() < 0.7 else 0 for k in kernel)
        size = tuple(max(1, k - p) + random.randint(0, 9) for k, p in zip(kernel, pad, strict=True))
        yield size, kernel, stride, pad, bool(random.rand() < 0.7)


@pytest.mark.parametrize("method", ["MAX", "AVE"])
def test_any_window_as_caffes_loops(method):
    tried = 0
    for size, kernel, stride, pad, ceil in windows():
        random = np.random.RandomState(sum(size))
        x = random.randint(-5, 5, (2, 3, *size)).astype(np.float32)  # many equal values
        body = (
            f"pooling_param {{ pool: {method} kernel_h: {kernel[0]} kernel_w: {kernel[1]} stride_h: {stride[0]} "
            f"stride_w: {stride[1]} pad_h: {pad[0]} pad_w: {pad[1]} round_mode: {'CEIL' if ceil else 'FLOOR'} }}"
        )
        expected = [[model(channel, method, kernel, stride, pad, ceil) for channel in image] for image in x]
        if 0 in expected[0][0][0].shape:
            continue
        tried += 1
        layer = single("Pooling", body, x.shape, tops=2 if method == "MAX" else 1)
        tops = layer(torch.from_numpy(x))
        tops = tops if method == "MAX" else (tops,)
        assert layer.shapes(x.shape) == tuple(tuple(top.shape) for top in tops)
        for top, theirs in zip(tops, zip(*(pair for image in expected for pair in image), strict=True), strict=False):
            np.testing.assert_allclose(top.numpy().reshape(-1, *top.shape[2:]), np.stack(theirs), rtol=1e-6, atol=1e-6)
    assert tried > 100


def test_max_gives_the_same_with_and_without_its_mask():
    x = torch.randn(2, 3, 9, 7)
    body = "pooling_param { kernel_size: 4 stride: 5 pad: 3 }"
    assert torch.equal(single("Pooling", body, x.shape)(x), single("Pooling", body, x.shape, tops=2)(x)[0])


def test_the_first_of_equals_gets_the_gradient():
    x = torch.zeros(1, 1, 2, 6, requires_grad=True)
    body = "pooling_param { kernel_h: 2 kernel_w: 3 stride: 3 pad_h: 1 pad_w: 2 }"
    single("Pooling", "pooling_param { kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 3 }", x.shape)(x).sum().backward()
    assert x.grad.flatten().tolist() == [1, 0, 0, 1, 0, 0] + [0] * 6
    with pytest.raises(SchemaError):
        single("Pooling", body.replace("stride: 3", "stride: 3 stride_h: 2"), x.shape)


def test_global_pooling_follows_the_input():
    layer = single("Pooling", "pooling_param { pool: AVE global_pooling: true }", (1, 2, 5, 4))
    x = torch.randn(3, 2, 8, 6)
    torch.testing.assert_close(layer(x), x.mean((2, 3), keepdim=True))
    assert layer.shapes((3, 2, 8, 6)) == ((3, 2, 1, 1),)


def test_stochastic_in_test_is_the_mean_weighted_by_itself():
    x = torch.rand(2, 3, 5, 7)
    layer = single("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }", x.shape)
    padded = torch.nn.functional.pad(x, (0, 1, 0, 1))
    windows = padded.unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    torch.testing.assert_close(layer(x), (windows**2).sum(-1) / windows.sum(-1))
    assert layer.shapes(x.shape) == (tuple(layer(x).shape),)
    assert layer(torch.zeros(1, 3, 4, 4)).eq(0).all()


def test_stochastic_in_training_draws_in_proportion():
    torch.manual_seed(0)
    layer = single("Pooling", "pooling_param { pool: STOCHASTIC kernel_size: 2 stride: 2 }", (1, 1, 2, 2)).train()
    x = torch.tensor([[1.0, 0.0], [2.0, 5.0]]).expand(4000, 1, 2, 2).clone().requires_grad_()
    top = layer(x)
    shares = [(top == value).float().mean().item() for value in (1, 0, 2, 5)]
    assert shares == pytest.approx([1 / 8, 0, 2 / 8, 5 / 8], abs=0.03)
    top.sum().backward()
    assert x.grad.sum() == 4000
    assert torch.equal((x * x.grad).sum((2, 3)), top.flatten(1))


def test_half_precision():
    x = torch.randn(1, 2, 9, 7)
    layer = single("Pooling", "pooling_param { kernel_size: 4 stride: 5 pad: 3 }", x.shape)
    torch.testing.assert_close(layer(x.bfloat16()), layer(x).bfloat16())


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        ("", SchemaError, "kernel_size is missing"),
        ("kernel_size: 0", SchemaError, "kernel_size is missing or 0"),
        ("kernel_h: 2", SchemaError, "kernel_h is stated alone"),
        ("kernel_size: 2 kernel_h: 2 kernel_w: 2", SchemaError, "both kernel_size and kernel_h"),
        ("kernel_size: 2 stride: 0", SchemaError, "stride must be at least 1"),
        ("kernel_size: 2 stride_w: 2", SchemaError, "stride_w is stated alone"),
        ("kernel_size: 2 pad: 2", SchemaError, "pad must be smaller than the kernel"),
        ("kernel_size: 2 pad: 1 pad_h: 1 pad_w: 1", SchemaError, "both pad and pad_h"),
        ("pool: STOCHASTIC kernel_size: 2 pad: 1", SchemaError, "no padding"),
        ("global_pooling: true kernel_size: 3", SchemaError, "kernel_size is stated with global_pooling"),
        ("global_pooling: true pad: 1", SchemaError, "pad 0 and stride 1"),
        ("kernel_size: 9", ShapeError, "does not fit the bottom"),
    ],
)
def test_refused(body, kind, says):
    with pytest.raises(kind, match=says) as error:
        single("Pooling", f"pooling_param {{ {body} }}", (1, 2, 5, 6))
    assert error.value.layer == "l"


def test_refuses_other_shapes_and_a_mask_of_means():
    with pytest.raises(ShapeError, match="4 axes"):
        single("Pooling", "pooling_param { kernel_size: 2 }", (2, 5, 6))
    with pytest.raises(SchemaError, match="only MAX has a second top"):
        single("Pooling", "pooling_param { pool: AVE kernel_size: 2 }", (1, 2, 5, 6), tops=2)


@pytest.mark.parametrize("height", [0, 32])
def test_spp_refuses_a_pyramid(height):
    with pytest.raises(SchemaError, match="pyramid_height"):
        single("SPP", f"spp_param {{ pyramid_height: {height} }}", (1, 2, 5, 6))


def test_spp_refuses_more_bins_than_pixels():
    with pytest.raises(ShapeError, match="8 bins are too many"):
        single("SPP", "spp_param { pyramid_height: 4 }", (1, 2, 4, 6))


def test_spp_of_one_level_keeps_its_axes():
    layer = single("SPP", "spp_param { pyramid_height: 1 }", (1, 2, 4, 6))
    assert layer.shapes((1, 2, 4, 6)) == ((1, 2, 1, 1),)
    assert layer(torch.zeros(1, 2, 4, 6)).shape == (1, 2, 1, 1)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        ("", 3),
        ("ceil_mode: true", 3),
        ("ceil_mode: false", 2),
        ("ceil_mode: false round_mode: FLOOR", 2),
        ("round_mode: FLOOR", 2),
    ],
)
def test_ceil_mode_is_another_name_of_round_mode(body, size):
    layer = single("Pooling", f"pooling_param {{ kernel_size: 2 stride: 2 {body} }}", (1, 1, 5, 5))
    assert layer.shapes((1, 1, 5, 5)) == (tuple(layer(torch.ones(1, 1, 5, 5)).shape),) == ((1, 1, size, size),)


@pytest.mark.parametrize("body", ["ceil_mode: true round_mode: FLOOR", "ceil_mode: false round_mode: CEIL"])
def test_ceil_mode_against_round_mode(body):
    with pytest.raises(SchemaError, match="contradict"):
        single("Pooling", f"pooling_param {{ kernel_size: 2 {body} }}", (1, 1, 5, 5))
