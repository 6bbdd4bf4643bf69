"""BN of two forks, BatchNorm with a scale, NormalizeBBox and depthwise convolution, by NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from tests.layers.single import single

SHAPE = (2, 3, 4, 5)


def picture(seed: int = 0) -> torch.Tensor:
    return torch.tensor(np.random.default_rng(seed).normal(size=SHAPE), dtype=torch.float32)


def vector(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 2, size=3).astype(np.float32)


def give(layer, *blobs):
    for index, blob in enumerate(blobs):
        layer.set_blob(index, torch.tensor(blob).view(layer.blobs[index].shape))
    return layer


def column(values: np.ndarray) -> np.ndarray:
    return values.reshape(1, 3, 1, 1)


def test_bn_with_four_blobs_uses_its_statistics():
    x, slope, bias, mean, variance = picture(), *(vector(seed) for seed in range(1, 5))
    layer = give(single("BN", "bn_param { frozen: true eps: 0.001 }", SHAPE), slope, bias, mean, variance)
    expected = (x.numpy() - column(mean)) / np.sqrt(column(variance) + 0.001) * column(slope) + column(bias)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    assert layer.shapes(SHAPE) == (SHAPE,)


def test_bn_with_two_blobs_scales_in_inference():
    x, scale, shift = picture(), vector(1), vector(2)
    layer = give(single("BN", "bn_param { bn_mode: INFERENCE }", SHAPE), scale, shift)
    expected = x.numpy() * column(scale) + column(shift)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_batch_norm_with_five_blobs():
    x, mean, variance, weight, bias = picture(), *(vector(seed) for seed in range(1, 5))
    layer = single("BatchNorm", "batch_norm_param { scale_bias: true eps: 0.001 }", SHAPE).eval()
    give(layer, mean, variance, np.ones(1, np.float32), weight, bias)
    expected = (x.numpy() - column(mean)) / np.sqrt(column(variance) + 0.001) * column(weight) + column(bias)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)


def test_normalize_bbox_is_the_normalize_of_ssd():
    x, scale = picture(), vector(1)
    layer = give(single("NormalizeBBox", "norm_param { across_spatial: false channel_shared: false }", SHAPE), scale)
    norm = np.sqrt((x.numpy() ** 2).sum(1, keepdims=True) + 1e-10)
    np.testing.assert_allclose(layer(x).detach().numpy(), x.numpy() / norm * column(scale), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("type_", ["DepthwiseConvolution", "ConvolutionDepthwise"])
def test_depthwise_convolution_has_a_filter_for_each_channel(type_):
    x, weight, bias = picture(), np.random.default_rng(5).normal(size=(3, 1, 3, 3)).astype(np.float32), vector(2)
    layer = give(
        single(type_, "convolution_param { num_output: 3 kernel_size: 3 pad: 1 stride: 2 }", SHAPE), weight, bias
    )
    expected = functional.conv2d(x, torch.tensor(weight), torch.tensor(bias), stride=2, padding=1, groups=3)
    torch.testing.assert_close(layer(x), expected, check_stride=False)
    assert layer.shapes(SHAPE) == (tuple(expected.shape),)
