"""CenterLoss against loops from caffe-face's rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.errors import CaffeCompatError, SchemaError, ShapeError
from tests.layers.single import single
from tests.support import make_net

BODY = 'center_loss_param { num_output: 4 center_filler { type: "xavier" } }'


def naive(x, labels, centers):
    """The loss, the features' gradient, and the centers'."""
    loss, features, total, count = 0.0, np.zeros_like(x), np.zeros_like(centers), np.zeros(len(centers))
    for m, label in enumerate(labels):
        distance = x[m] - centers[label]
        loss += (distance**2).sum() / 2 / len(x)
        features[m] = distance / len(x)
        total[label] -= distance
        count[label] += 1
    return loss, features, total / (count + 1)[:, None]


def test_loss_and_gradients():
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(6, 3)), np.array([0, 2, 2, 3, 2, 0])
    layer = single("CenterLoss", BODY, (6, 3), (6,)).double()
    features = torch.tensor(x, requires_grad=True)
    loss = layer(features, torch.tensor(labels))
    assert layer.shapes((6, 3), (6,)) == (tuple(loss.shape),)
    # The loss's weight counts for the features alone.
    (5 * loss).backward()
    wanted, wanted_features, wanted_centers = naive(x, labels, layer.center.detach().numpy())
    assert loss.item() == pytest.approx(wanted)
    np.testing.assert_allclose(features.grad.numpy(), 5 * wanted_features, rtol=1e-12)
    np.testing.assert_allclose(layer.center.grad.numpy(), wanted_centers, rtol=1e-12)


def test_gradcheck_of_the_features():
    layer = single("CenterLoss", BODY, (3, 2, 2), (3, 1, 1, 1)).double()
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layer(x, torch.tensor([1, 0, 1])), (x,))


def test_centers_without_a_learning_rate_get_no_gradient():
    layer = single("CenterLoss", f"{BODY} param {{ lr_mult: 0 }}", (3, 2), (3,))
    x = torch.randn(3, 2, requires_grad=True)
    layer(x, torch.tensor([0, 1, 3])).backward()
    assert x.grad is not None
    assert layer.center.grad is None


def test_the_blob_has_the_filler_and_the_shape_of_the_flattened_features():
    body = 'center_loss_param { num_output: 5 axis: 1 center_filler { type: "constant" value: 2 } }'
    layer = single("CenterLoss", body, (2, 3, 4, 5), (2,))
    assert layer.center.shape == (5, 60)
    assert layer.center.eq(2).all()


def test_it_is_a_loss():
    net = make_net(
        'input: "x" input_shape { dim: 2 dim: 3 } input: "label" input_shape { dim: 2 } '
        f'layer {{ name: "c" type: "CenterLoss" bottom: "x" bottom: "label" top: "c" loss_weight: 0.01 {BODY} }}'
    )
    outputs = net(x=torch.randn(2, 3), label=torch.tensor([0.0, 3.0]))
    assert [weight for weight, _ in outputs.losses] == [pytest.approx(0.01)]


def test_refuses():
    with pytest.raises(SchemaError, match="needs num_output"):
        single("CenterLoss", "", (2, 3), (2,))
    with pytest.raises(ShapeError, match="axis 3 is out of range"):
        single("CenterLoss", "center_loss_param { num_output: 2 axis: 3 }", (2, 3), (2,))
    with pytest.raises(ShapeError, match="one label an item"):
        single("CenterLoss", BODY, (2, 3), (2, 2))
    with pytest.raises(ShapeError, match="one label an item"):
        single("CenterLoss", BODY, (2, 3), (3,))
    layer = single("CenterLoss", BODY, (2, 3), (2,))
    with pytest.raises(CaffeCompatError, match=r"a label is 4; labels must be within 0\.\.3"):
        layer(torch.zeros(2, 3), torch.tensor([0.0, 4.0]))
