"""Softmax and losses: labels, normalizers, gradients that are not the value's, what they refuse."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
import torch

from caffecompat.errors import CaffeCompatError, SchemaError, ShapeError
from caffecompat.layers.labels import with_gradient_of
from tests.layers.single import single

CLASSES = 3


def scores_and_labels(dtype=torch.float64):
    torch.manual_seed(2)
    return torch.randn(4, CLASSES, dtype=dtype, requires_grad=True), torch.tensor([0, 2, 1, 2])


@pytest.mark.parametrize(
    ("type_", "body", "shapes", "message"),
    [
        ("Softmax", "softmax_param { axis: 2 }", [(4, 3)], "axis 2 is out of range for a blob of 2 axes"),
        (
            "SoftmaxWithLoss",
            "",
            [(4, 3, 2, 5), (4, 1, 2, 4)],
            "with classes on axis 1 need 40 labels (4, 2, 5), got 32 of shape (4, 1, 2, 4)",
        ),
        ("SoftmaxWithLoss", "", [(4, 3), (1, 4)], "must have the same first size, got shapes (4, 3) and (1, 4)"),
        ("SoftmaxWithLoss", "softmax_param { axis: -3 }", [(4, 3), (4,)], "axis -3 is out of range"),
        ("EuclideanLoss", "", [(4, 3), (4, 2)], "must hold as many values, got shapes (4, 3) and (4, 2)"),
        ("EuclideanLoss", "", [(4, 3), (3, 4)], "must have the same first size"),
        ("SigmoidCrossEntropyLoss", "", [(4, 3), (4,)], "must hold as many values, got shapes (4, 3) and (4,)"),
        ("SmoothL1Loss", "", [(4, 3), (4, 3), (4,)], "must hold as many values, got shapes (4, 3) and (4,)"),
        ("HingeLoss", "", [(4, 3), (4, 3)], "one label an item, got scores (4, 3) and labels (4, 3)"),
        ("MultinomialLogisticLoss", "", [(4, 3), (4, 2)], "one label an item"),
        ("ContrastiveLoss", "", [(4, 3, 2), (4, 3, 2), (4,)], "must have shape (N, C) or (N, C, 1, 1)"),
        ("ContrastiveLoss", "", [(4, 3), (4, 2), (4,)], "must hold as many values"),
        ("ContrastiveLoss", "", [(4, 3), (4, 3), (4, 2)], "one label an item"),
    ],
)
def test_shapes_refused(type_, body, shapes, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        single(type_, body, *shapes)


LABELLED = [("SoftmaxWithLoss", ""), ("HingeLoss", ""), ("HingeLoss", "hinge_loss_param { norm: L2 }")]
LABELLED += [("MultinomialLogisticLoss", "")]


@pytest.mark.parametrize(("type_", "body"), LABELLED)
@pytest.mark.parametrize("bad", [CLASSES, -1, 255])
def test_a_label_that_is_no_class_is_refused(type_, body, bad):
    """Caffe reads beside the array."""
    scores, labels = scores_and_labels()
    labels[2] = bad
    with pytest.raises(CaffeCompatError, match=f"a label is {bad}; labels must be within 0..2"):
        single(type_, body, (4, CLASSES), (4,))(scores, labels)


def test_a_label_that_is_no_class_makes_a_compiled_loss_nan(monkeypatch):
    """There the check would cost a synchronisation; the other items keep their gradient."""
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    scores, labels = scores_and_labels()
    labels[2] = 255
    loss = single("SoftmaxWithLoss", "", (4, CLASSES), (4,))(scores, labels)
    loss.backward()
    assert math.isnan(loss.item())
    assert scores.grad is not None
    assert torch.equal(scores.grad[2], torch.zeros(CLASSES, dtype=torch.float64))
    assert torch.isfinite(scores.grad).all()
    assert scores.grad[0].abs().sum() > 0


@pytest.mark.parametrize(("type_", "body"), LABELLED)
def test_labels_may_be_floats_or_integers(type_, body):
    scores, labels = scores_and_labels()
    layer = single(type_, body, (4, CLASSES), (4,))
    expected = layer(scores, labels)
    for dtype in (torch.float32, torch.int32, torch.uint8):
        assert torch.equal(layer(scores, labels.to(dtype)), expected)
    assert torch.equal(layer(scores, labels + 0.75), expected), "Caffe cuts a label toward 0"


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        *LABELLED[:3],
        ("SoftmaxWithLoss", "loss_param { ignore_label: 2 normalization: FULL }"),
    ],
)
def test_gradients_to_scores(type_, body):
    scores, labels = scores_and_labels()
    layer = single(type_, body, (4, CLASSES), (4,))
    assert torch.autograd.gradcheck(lambda x: layer(x, labels), scores)


@pytest.mark.parametrize("type_", ["EuclideanLoss", "SmoothL1Loss"])
def test_gradients_to_both(type_):
    torch.manual_seed(3)
    pair = [torch.randn(4, 5, dtype=torch.float64, requires_grad=True) * 2 for _ in range(2)]
    assert torch.autograd.gradcheck(single(type_, "", (4, 5), (4, 5)), pair)


def test_no_gradient_to_targets():
    scores = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.rand(4, 5, dtype=torch.float64, requires_grad=True)
    layer = single("SigmoidCrossEntropyLoss", "", (4, 5), (4, 5))
    assert torch.autograd.gradcheck(lambda x: layer(x, targets), scores)
    assert torch.autograd.grad(layer(scores, targets), targets, allow_unused=True) == (None,)


@pytest.mark.parametrize(
    ("body", "divisor"),
    [
        ("", 2),
        ("normalization: FULL", 4),
        ("normalization: BATCH_SIZE", 4),
        ("normalization: NONE", 1),
        ("normalize: true", 2),
        ("normalize: false", 4),
        ("normalize: false normalization: NONE", 1),
    ],
)
def test_softmax_loss_normalizers(body, divisor):
    scores, labels = scores_and_labels()
    layer = single("SoftmaxWithLoss", f"loss_param {{ ignore_label: 2 {body} }}", (4, CLASSES), (4,))
    rows = torch.nn.functional.cross_entropy(scores, labels, reduction="none")
    torch.testing.assert_close(layer(scores, labels), rows[labels != 2].sum() / divisor)


def test_a_loss_of_nothing_is_divided_by_one():
    scores, _ = scores_and_labels()
    layer = single("SoftmaxWithLoss", "loss_param { ignore_label: 2 }", (4, CLASSES), (4,))
    assert layer(scores, torch.full((4,), 2)).item() == 0


def test_probabilities_below_flt_min_keep_their_gradient():
    scores = torch.tensor([[0.0, -500.0, 0.0]], requires_grad=True)
    loss = single("SoftmaxWithLoss", "", (1, CLASSES), (1,))(scores, torch.tensor([1]))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(np.finfo(np.float32).tiny))
    assert scores.grad is not None
    torch.testing.assert_close(scores.grad, torch.tensor([[0.5, -1.0, 0.5]]))


def test_the_softmax_of_a_second_top_has_no_gradient():
    scores, labels = scores_and_labels()
    layer = single("SoftmaxWithLoss", "", (4, CLASSES), (4,), tops=2)
    assert layer.shapes((4, CLASSES), (4,)) == ((), (4, CLASSES))
    _, probabilities = layer(scores, labels)
    torch.testing.assert_close(probabilities, torch.softmax(scores, 1).detach())
    assert not probabilities.requires_grad


def test_multinomial_gradient_below_the_threshold():
    prob = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    loss = single("MultinomialLogisticLoss", "", (1, CLASSES), (1,))(prob, torch.tensor([0]))
    loss.backward()
    assert loss.item() == pytest.approx(-math.log(1e-20))
    assert prob.grad is not None
    assert prob.grad.tolist() == [[pytest.approx(-1e20), 0, 0]]


def test_smooth_l1_weights_scale_the_difference_not_the_gradient():
    """The SSD branch's backward pass gives f'(w (a - b)) / N."""
    random = np.random.RandomState(4)
    first, second, weights = (random.uniform(-2, 2, (3, 4)) for _ in range(3))
    bottoms = [torch.tensor(value, requires_grad=True) for value in (first, second, weights)]
    loss = single("SmoothL1Loss", "", (3, 4), (3, 4), (3, 4))(*bottoms)
    loss.backward()
    difference = weights * (first - second)
    errors = np.where(abs(difference) < 1, 0.5 * difference**2, abs(difference) - 0.5)
    assert loss.item() == pytest.approx(errors.sum() / 3)
    expected = torch.tensor(np.clip(difference, -1, 1) / 3)
    torch.testing.assert_close(bottoms[0].grad, expected)
    torch.testing.assert_close(bottoms[1].grad, -expected)
    assert bottoms[2].grad is None


def test_contrastive_loss_of_equal_items_has_a_finite_gradient():
    first = torch.zeros(1, 3, requires_grad=True)
    loss = single("ContrastiveLoss", "", (1, 3), (1, 3), (1,))(first, torch.zeros(1, 3), torch.zeros(1))
    loss.backward()
    assert loss.item() == pytest.approx(0.5)
    assert first.grad is not None
    assert first.grad.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("type_", ["SoftmaxWithLoss", "HingeLoss", "MultinomialLogisticLoss"])
def test_a_loss_of_half_precision_is_float32(type_):
    scores, labels = scores_and_labels(torch.float32)
    layer = single(type_, "", (4, CLASSES), (4,))
    scores = scores.detach().abs().bfloat16()
    loss = layer(scores, labels)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, layer(scores.float(), labels))


def test_with_gradient_of():
    source = torch.tensor([1.0, -2.0], requires_grad=True)
    value = with_gradient_of(source, source.clamp(min=0))
    (value * torch.tensor([3.0, 5.0])).sum().backward()
    assert value.tolist() == [1, 0]
    assert source.grad is not None
    assert source.grad.tolist() == [3, 5]


@pytest.mark.parametrize("type_", ["HingeLoss", "MultinomialLogisticLoss"])
def test_scores_without_an_axis_of_classes_have_one_class(type_):
    layer = single(type_, "", (4,), (4,))
    assert torch.isfinite(layer(torch.rand(4) + 0.1, torch.zeros(4)))
    with pytest.raises(CaffeCompatError, match="labels must be within 0..0"):
        layer(torch.rand(4), torch.ones(4))


@pytest.mark.parametrize("sigma", [1.0, 3.0])
@pytest.mark.parametrize("bottoms", [2, 3, 4])
def test_smooth_l1_loss_of_fast_rcnn(bottoms, sigma):
    rng = np.random.default_rng(0)
    blobs = [rng.normal(size=(3, 4, 2, 2)) for _ in range(bottoms)]
    layer = single("SmoothL1Loss", f"smooth_l1_loss_param {{ sigma: {sigma} }}", *[(3, 4, 2, 2)] * bottoms)
    total, grad = 0.0, np.zeros_like(blobs[0])
    for place in np.ndindex(grad.shape):
        inside, outside = (*(blob[place] for blob in blobs[2:]), 1.0, 1.0)[:2]
        difference = inside * (blobs[0][place] - blobs[1][place])
        if abs(difference) < 1 / sigma**2:
            total += outside * 0.5 * (sigma * difference) ** 2 / 3
            grad[place] = outside * inside * sigma**2 * difference / 3
        else:
            total += outside * (abs(difference) - 0.5 / sigma**2) / 3
            grad[place] = outside * inside * np.sign(difference) / 3
    tensors = [torch.tensor(blob, requires_grad=True) for blob in blobs]
    loss = layer(*tensors)
    loss.backward()
    assert loss.item() == pytest.approx(total)
    np.testing.assert_allclose(tensors[0].grad.numpy(), grad, rtol=1e-12)
    np.testing.assert_allclose(tensors[1].grad.numpy(), -grad, rtol=1e-12)
    assert all(weight.grad is None for weight in tensors[2:])
    inputs = [torch.tensor(blob) for blob in blobs]
    assert torch.autograd.gradcheck(lambda first: layer(first, *inputs[1:]), (inputs[0].clone().requires_grad_(),))


@pytest.mark.parametrize(
    ("body", "bottoms", "name"),
    [
        ("", 2, "SmoothL1Loss"),
        ("", 3, "SmoothL1Loss"),
        ("", 4, "FastRCNNSmoothL1Loss"),
        ("smooth_l1_loss_param { sigma: 1 }", 2, "FastRCNNSmoothL1Loss"),
        ("smooth_l1_loss_param { }", 3, "FastRCNNSmoothL1Loss"),
    ],
)
def test_whose_smooth_l1_loss_it_is(body, bottoms, name):
    assert type(single("SmoothL1Loss", body, *[(2, 3)] * bottoms)).__name__ == name


def test_smooth_l1_loss_of_fast_rcnn_refuses():
    with pytest.raises(SchemaError, match="sigma must be above 0"):
        single("SmoothL1Loss", "smooth_l1_loss_param { sigma: 0 }", (2, 3), (2, 3))
    with pytest.raises(ShapeError, match="as many values"):
        single("SmoothL1Loss", "", (2, 3), (2, 3), (2, 3), (2, 1))
