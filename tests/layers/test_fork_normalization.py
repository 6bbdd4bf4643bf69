"""BN of two forks, BatchNorm with a scale, and the meanings of Normalize, by NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from caffecompat.errors import SchemaError, ShapeError
from caffecompat.layers.base import meanings_of
from caffecompat.layers.fork_normalization import (
    BN,
    BatchNormWithScale,
    BNWithoutStatistics,
    NormalizeImage,
    NormalizeWithoutScale,
)
from caffecompat.layers.normalization import BatchNorm, Normalize
from tests.layers.exported import check_export
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


def by_batch(x, eps):
    """(x - mean) / sqrt(variance + eps) by the batch's statistics, and these."""
    mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3))
    return (x - column(mean)) / np.sqrt(column(variance) + eps), mean, variance


def test_bn_with_four_blobs_in_training():
    x, slope, bias, mean, variance = picture(), *(vector(seed) for seed in range(1, 5))
    layer = give(single("BN", "bn_param { momentum: 0.75 eps: 0.001 }", SHAPE), slope, bias, mean, variance).train()
    expected, batch_mean, batch_variance = by_batch(x.numpy(), 0.001)
    top = layer(x).detach().numpy()
    np.testing.assert_allclose(top, expected * column(slope) + column(bias), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(layer.mean.numpy().ravel(), 0.75 * mean + 0.25 * batch_mean, rtol=1e-5)
    np.testing.assert_allclose(layer.variance.numpy().ravel(), 0.75 * variance + 0.25 * batch_variance, rtol=1e-5)
    assert [tuple(blob.shape) for blob in layer.blobs] == [(1, 3, 1, 1)] * 4
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]


def test_a_frozen_bn_learns_nothing():
    layer = single("BN", "bn_param { frozen: true }", SHAPE).train()
    assert not list(layer.parameters())
    assert layer.variance.flatten().tolist() == [1, 1, 1]
    x = picture()
    layer(x)
    assert layer.mean.flatten().tolist() == [0, 0, 0]
    assert single("BN", "bn_param { eps: 1e-5 }", SHAPE).variance.flatten().tolist() == [0, 0, 0]


@pytest.mark.parametrize("training", [False, True])
def test_bn_with_two_blobs_takes_the_batch_in_either_phase(training):
    x, scale, shift = picture(), vector(1), vector(2)
    layer = give(single("BN", "bn_param { bn_mode: LEARN }", SHAPE, tops=3), scale, shift).train(training)
    expected, mean, variance = by_batch(x.numpy(), 1e-9)
    top, *statistics = (value.detach().numpy() for value in layer(x))
    np.testing.assert_allclose(top, expected * column(scale) + column(shift), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(statistics[0], column(mean), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(statistics[1], column(variance), rtol=1e-5)
    assert layer.shapes(SHAPE) == (SHAPE, (1, 3, 1, 1), (1, 3, 1, 1))


def test_batch_norm_with_five_blobs_in_training():
    """Its statistics are those of the first batch, then a running mean, the variance of m / (m - 1): as cuDNN's."""
    body = "batch_norm_param { scale_filler { value: 2 } bias_filler { value: 1 } moving_average_fraction: 0.75 }"
    layer, theirs = single("BatchNorm", body, SHAPE).train(), torch.nn.BatchNorm2d(3)
    torch.nn.init.constant_(theirs.weight, 2)
    torch.nn.init.constant_(theirs.bias, 1)
    for step in range(3):
        theirs.momentum = 0.25 if step else 1.0
        x = picture(step) + step
        torch.testing.assert_close(layer(x), theirs(x))
        torch.testing.assert_close(layer.mean, theirs.running_mean)
        torch.testing.assert_close(layer.variance, theirs.running_var)
    assert layer.factor.item() == 1
    torch.testing.assert_close(layer.eval()(x), theirs.eval()(x))


def test_batch_norm_with_global_stats_leaves_them():
    layer = single("BatchNorm", "batch_norm_param { scale_bias: true use_global_stats: true }", SHAPE).train()
    layer(picture())
    assert not layer.mean.any()


@pytest.mark.parametrize("kind", ["L1", "L2"])
def test_normalize_of_happynear(kind):
    x = picture()
    layer = single("Normalize", f'normalize_param {{ normalize_type: "{kind}" }}', SHAPE, tops=2)
    norms = np.zeros((2, 1, 4, 5))
    for image, row, column_ in np.ndindex(2, 4, 5):
        pixel = x[image, :, row, column_].double().numpy()
        norms[image, 0, row, column_] = abs(pixel).sum() + 1e-6 if kind == "L1" else np.sqrt(pixel @ pixel + 1e-6)
    top, norm = layer(x)
    np.testing.assert_allclose(norm.numpy(), norms, rtol=1e-6)
    np.testing.assert_allclose(top.numpy(), x.numpy() / norms, rtol=1e-5, atol=1e-7)
    assert layer.shapes(SHAPE) == (SHAPE, (2, 1, 4, 5))
    power = 1 if kind == "L1" else 2
    torch.testing.assert_close(top, functional.normalize(x, power, dim=1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("body", ["normalize_param { }", "normalize_param { across_spatial: true }"])
def test_squares_of_half_precision_do_not_overflow(body):
    x = (picture() * 300).half()
    top = single("Normalize", body, SHAPE)(x)
    torch.testing.assert_close(top.float(), single("Normalize", body, SHAPE)(x.float()), rtol=2e-3, atol=2e-3)
    assert top.dtype is torch.half


def test_normalize_of_yjxiong():
    x = picture()
    layer = single("Normalize", "normalize_param { across_spatial: true }", SHAPE)
    expected = np.stack([image / np.sqrt((image**2).sum()) for image in x.numpy()])
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-5)
    assert layer.shapes(SHAPE) == (SHAPE,)


def test_the_norm_passes_a_gradient_only_with_bp_norm():
    for bp_norm in (False, True):
        layer = single("Normalize", f"normalize_param {{ bp_norm: {str(bp_norm).lower()} }}", SHAPE, tops=2)
        assert layer(picture().requires_grad_())[1].requires_grad is bp_norm


def test_fix_gradient_multiplies_it_by_the_norm():
    grads, weights = [], picture(1)
    for fix in ("false", "true"):
        x = picture().requires_grad_()
        top = single("Normalize", f"normalize_param {{ fix_gradient: {fix} }}", SHAPE)(x)
        torch.testing.assert_close(top, functional.normalize(x, dim=1), rtol=1e-4, atol=1e-5)
        (top * weights).sum().backward()
        grads.append(x.grad)
    norm = (picture().square().sum(1, keepdim=True) + 1e-6).sqrt()
    torch.testing.assert_close(grads[1], grads[0] * norm, rtol=1e-4, atol=1e-5)


GRADIENTS = [
    ("BN", "bn_param { eps: 0.001 }", 1),
    ("BN", "bn_param { frozen: true }", 1),
    ("BN", "bn_param { bn_mode: LEARN }", 1),
    ("BN", "bn_param { bn_mode: INFERENCE }", 1),
    ("BatchNorm", "batch_norm_param { scale_bias: true }", 1),
    ("Normalize", "normalize_param { }", 1),
    ("Normalize", 'normalize_param { normalize_type: "L1" bp_norm: true }', 2),
    ("Normalize", "normalize_param { across_spatial: true }", 1),
    ("NormalizeBBox", "norm_param { across_spatial: false channel_shared: false }", 1),
]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("type_", "body", "tops"), GRADIENTS)
def test_gradients(type_, body, tops, training):
    layer = single(type_, body, SHAPE, tops=tops).double().train(training)
    for parameter, seed in zip(layer.parameters(), (1, 2), strict=False):
        parameter.data = torch.tensor(vector(seed)).double().view(parameter.shape)
    x = picture().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, *layer.parameters()))


@pytest.mark.parametrize(("type_", "body", "tops"), GRADIENTS)
def test_export(type_, body, tops):
    check_export(single(type_, body, SHAPE, tops=tops), picture())


@pytest.mark.parametrize(
    ("type_", "body", "tops", "expected"),
    [
        ("BN", "bn_param { slope_filler { value: 1 } }", 1, BN),
        ("BN", "param { lr_mult: 1 } " * 4, 1, BN),
        ("BN", "bn_param { shift_filler { value: 1 } }", 1, BNWithoutStatistics),
        ("BN", "", 2, BNWithoutStatistics),
        ("BatchNorm", "", 1, BatchNorm),
        ("BatchNorm", "batch_norm_param { scale_bias: true }", 1, BatchNormWithScale),
        ("BatchNorm", "batch_norm_param { bias_filler { value: 1 } }", 1, BatchNormWithScale),
        ("Normalize", "", 1, Normalize),
        ("Normalize", "norm_param { }", 1, Normalize),
        ("Normalize", "normalize_param { }", 1, NormalizeWithoutScale),
        ("Normalize", "", 2, NormalizeWithoutScale),
        ("Normalize", "normalize_param { across_spatial: true }", 1, NormalizeImage),
    ],
)
def test_which_is_meant(type_, body, tops, expected):
    layer = single(type_, body, SHAPE, tops=tops)
    assert type(layer) is expected
    assert expected in meanings_of(type_)


@pytest.mark.parametrize(
    ("type_", "body", "tops", "message"),
    [
        ("BN", "", 1, "nothing tells which is meant"),
        ("BN", "param { lr_mult: 1 } " * 2, 1, "nothing tells which is meant"),
        ("BN", "bn_param { frozen: true bn_mode: LEARN }", 1, "frozen belongs to the BN of PSPNet"),
        ("BN", "bn_param { frozen: true }", 2, "one top"),
        ("BN", "bn_param { bn_mode: INFERENCE }", 2, "no statistics"),
        ("Normalize", "norm_param { } normalize_param { }", 1, "normalize_param to that of happynear"),
        ("Normalize", "norm_param { }", 2, "a second top to that of happynear"),
        ("Normalize", 'normalize_param { normalize_type: "L3" }', 1, '"L1" or "L2", got "L3"'),
    ],
)
def test_what_is_refused(type_, body, tops, message):
    with pytest.raises(SchemaError, match=message) as info:
        single(type_, body, SHAPE, tops=tops)
    assert info.value.layer == "l"
    if "which is meant" in message or "happynear" in message:
        assert "state" in str(info.value.hint)


def test_shapes_that_are_refused():
    with pytest.raises(ShapeError, match="2 to 4 axes"):
        single("BN", "bn_param { frozen: true }", (3,))
    with pytest.raises(ShapeError, match="expected 3 channels"):
        single("BN", "bn_param { frozen: true }", SHAPE).shapes((2, 4, 4, 5))
