"""LRN, BatchNorm, MVN and Normalize beyond the recorded cases, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from caffecompat.errors import SchemaError, ShapeError
from tests.layers.single import single


@pytest.mark.parametrize("beta", [0.75, 0.6])
@pytest.mark.parametrize("channels", [1, 2, 7])
def test_lrn_as_pytorch(beta, channels):
    shape = (2, channels, 3, 4)
    body = f"lrn_param {{ local_size: 5 alpha: 0.3 beta: {beta} k: 2 }}"
    x = torch.randn(shape)
    expected = torch.nn.functional.local_response_norm(x, 5, 0.3, beta, 2.0)
    torch.testing.assert_close(single("LRN", body, shape)(x), expected)


def test_lrn_within_a_channel_ignores_k():
    body = "lrn_param { local_size: 3 norm_region: WITHIN_CHANNEL %s }"
    x = torch.randn(1, 2, 5, 4)
    assert torch.equal(single("LRN", body % "k: 5", x.shape)(x), single("LRN", body % "", x.shape)(x))


def batch_norm(shape, body=""):
    layer = single("BatchNorm", f"batch_norm_param {{ {body} }}", shape)
    layer.give(0, torch.tensor([1.0, -2.0, 0.5]))
    layer.give(1, torch.tensor([4.0, 1.0, 0.3]))
    layer.give(2, torch.tensor([2.0]))
    return layer


def test_batch_norm_follows_the_mode_unless_told():
    x = torch.randn(4, 3, 2, 5)
    layer = batch_norm(x.shape)
    kept = (x - layer.mean.reshape(3, 1, 1) / 2) / (layer.variance.reshape(3, 1, 1) / 2 + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), kept)
    batch = torch.nn.functional.batch_norm(x, None, None, training=True)
    torch.testing.assert_close(layer.train()(x), batch)
    torch.testing.assert_close(batch_norm(x.shape, "use_global_stats: true").train()(x), kept)
    torch.testing.assert_close(batch_norm(x.shape, "use_global_stats: false")(x), batch)


def test_batch_norm_keeps_statistics_as_caffe():
    x = torch.randn(4, 3, 2, 5)
    layer = batch_norm(x.shape, "moving_average_fraction: 0.9").train()
    before = [blob.clone() for blob in layer.blobs]
    layer(x)
    torch.testing.assert_close(layer.mean, 0.9 * before[0] + x.mean((0, 2, 3)))
    torch.testing.assert_close(layer.variance, 0.9 * before[1] + x.var((0, 2, 3), correction=1))
    torch.testing.assert_close(layer.factor, 0.9 * before[2] + 1)


def test_batch_norm_of_one_value_a_channel():
    """Caffe: the variance is 0 and its correction 1."""
    x = torch.tensor([[3.0, -1.0, 2.0]], requires_grad=True)
    layer = batch_norm((1, 3), "moving_average_fraction: 0.5").train()
    top = layer(x)
    assert top.eq(0).all()
    assert layer.mean.tolist() == [3.5, -2.0, 2.25]
    assert layer.variance.tolist() == pytest.approx([2.0, 0.5, 0.15])
    top.sum().backward()
    assert x.grad.eq(0).all()


def test_batch_norm_has_no_learned_parameters():
    layer = batch_norm((1, 3, 2, 2))
    assert list(layer.parameters()) == []
    assert layer.blob_names == list(layer.state_dict()) == ["mean", "variance", "factor"]


def test_mvn_gives_four_axes_and_finite_gradients():
    layer = single("MVN", "", (2, 3))
    assert layer.shapes((2, 3)) == ((2, 3, 1, 1),)
    x = torch.ones(2, 3, requires_grad=True)
    top = layer(x)
    assert top.shape == (2, 3, 1, 1)
    top.sum().backward()
    assert x.grad.isfinite().all()


def test_normalize_is_float32_within_half_precision():
    x = torch.randn(2, 3, 4, 5)
    layer = single("Normalize", "norm_param { across_spatial: false channel_shared: false }", x.shape)
    top = layer(x.bfloat16())
    assert top.dtype == torch.float32
    torch.testing.assert_close(top, layer(x.bfloat16().float()))


@pytest.mark.parametrize(
    ("type_", "body", "shape", "kind", "says"),
    [
        ("LRN", "lrn_param { local_size: 4 }", (1, 2, 3, 3), SchemaError, "local_size must be odd"),
        ("LRN", "lrn_param { local_size: 0 }", (1, 2, 3, 3), SchemaError, "local_size must be odd"),
        ("LRN", "", (1, 2, 3), ShapeError, "4 axes"),
        ("BatchNorm", "", (3,), ShapeError, "at least 2 axes"),
        ("MVN", "", (1, 2, 3, 4, 5), ShapeError, "at most 4 axes"),
        ("Normalize", "", (3,), ShapeError, "at least 2 axes"),
    ],
)
def test_refused(type_, body, shape, kind, says):
    with pytest.raises(kind, match=says) as error:
        single(type_, body, shape)
    assert error.value.layer == "l"


@pytest.mark.parametrize(("type_", "body"), [("BatchNorm", ""), ("Normalize", "norm_param { channel_shared: false }")])
def test_other_channels_are_refused(type_, body):
    layer = single(type_, body, (1, 3, 2, 2))
    assert layer.shapes((5, 3, 7)) == ((5, 3, 7),)
    with pytest.raises(ShapeError, match="expected 3 channels on axis 1"):
        layer.shapes((1, 4, 2, 2))
