"""Losses other than the softmax's. Each gives a scalar; its gradient is the one Caffe's backward computes."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer, meanings
from caffecompat.layers.labels import (
    Mode,
    by_item,
    check_items,
    class_labels,
    ignore_label,
    normalization,
    normalizer,
    precise,
    with_gradient_of,
)
from caffecompat.schema import caffe_pb2

LOG_THRESHOLD = 1e-20
DISTANCE_EPSILON = 1e-4


def _check_equal_counts(layer: Layer, first: Shape, *others: Shape) -> None:
    for other in others:
        check_items(layer, first, other)
        if prod(first) != prod(other):
            raise layer.error(f"the bottoms must hold as many values, got shapes {first} and {other}")


def _check_label_per_item(layer: Layer, scores: Shape, labels: Shape) -> None:
    check_items(layer, scores, labels)
    if prod(labels) != labels[0]:
        raise layer.error(f"there must be one label an item, got scores {scores} and labels {labels}")


@layer("EuclideanLoss")
class EuclideanLoss(Layer):
    """Half the squared distance of two blobs, over the items. bottoms: (N, ...) of as many values."""

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        _check_equal_counts(self, *bottoms)
        return ((),)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return precise(first - second.reshape(first.shape)).square().sum() / (2 * first.shape[0])


@layer("HingeLoss")
class HingeLoss(Layer):
    """One class against all others: the sum of max(0, 1 - t x), or of its squares (L2), over the items.

    t is 1 for the label's score x, else -1. bottoms: scores (N, ...), all values of an item its classes;
    labels, N values.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self._squared = spec.message.hinge_loss_param.norm == caffe_pb2.HingeLossParameter.L2

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        _check_label_per_item(self, *bottoms)
        return ((),)

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor:
        scores = by_item(precise(scores))
        found = class_labels(self, labels.reshape(-1, 1), scores.shape[1])
        sign = torch.ones_like(scores).scatter(1, found.index, -1.0)
        margins = functional.relu(1 + sign * scores)
        item = (margins.square() if self._squared else margins).sum(1, keepdim=True)
        return found.mask(item).sum() / scores.shape[0]


@layer("SigmoidCrossEntropyLoss")
class SigmoidCrossEntropyLoss(Layer):
    """The cross entropy of sigmoid(scores) and targets in 0..1, summed and divided.

    bottoms: scores (N, ...); targets, as many values. Caffe: divided by N unless `loss_param` says
    otherwise; a target is cut to an integer before it is compared with `ignore_label`; no gradient to targets.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self._mode = normalization(spec, Mode.BATCH_SIZE)
        self._ignore = ignore_label(spec)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        _check_equal_counts(self, *bottoms)
        return ((),)

    def forward(self, scores: Tensor, targets: Tensor) -> Tensor:
        scores = precise(scores)
        targets = targets.detach().reshape(scores.shape)
        losses = functional.binary_cross_entropy_with_logits(scores, targets.to(scores.dtype), reduction="none")
        valid: Tensor | int = scores.numel()
        if self._ignore is not None:
            ignored = targets.long() == self._ignore
            losses = losses.masked_fill(ignored, 0.0)
            valid = (~ignored).sum()
        return losses.sum() / normalizer(self._mode, scores.shape[0], prod(scores.shape[1:]), valid)


@layer("MultinomialLogisticLoss")
class MultinomialLogisticLoss(Layer):
    """The mean of -log(probability of the label), probabilities below 1e-20 taken as 1e-20.

    bottoms: probabilities (N, ...), all values of an item its classes; labels, N values.
    """

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        _check_label_per_item(self, *bottoms)
        return ((),)

    def forward(self, prob: Tensor, labels: Tensor) -> Tensor:
        prob = by_item(precise(prob))
        found = class_labels(self, labels.reshape(-1, 1), prob.shape[1])
        picked = prob.gather(1, found.index)
        picked = with_gradient_of(picked, picked.clamp(min=LOG_THRESHOLD))
        return -found.mask(picked.log()).sum() / prob.shape[0]


@layer("ContrastiveLoss")
class ContrastiveLoss(Layer):
    """Pulls similar pairs together and pushes others apart to `margin`.

    bottoms: two blobs (N, C) or (N, C, 1, 1); N labels, not 0 for a similar pair. Half the mean of d^2 for
    similar pairs, of max(margin - d, 0)^2 for others, or max(margin - d^2, 0) with `legacy_version`.
    Caffe's gradient divides by d + 1e-4.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.contrastive_loss_param
        self._margin, self._legacy = param.margin, param.legacy_version

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        first, second, labels = bottoms
        _check_equal_counts(self, first, second)
        _check_label_per_item(self, first, labels)
        if len(first) < 2 or prod(first[2:]) != 1:
            raise self.error(f"the first two bottoms must have shape (N, C) or (N, C, 1, 1), got {first}")
        return ((),)

    def forward(self, first: Tensor, second: Tensor, similar: Tensor) -> Tensor:
        squared = precise(first - second.reshape(first.shape)).flatten(1).square().sum(1)
        if self._legacy:
            apart = functional.relu(self._margin - squared)
        else:
            distance = squared.detach().sqrt()
            distance = with_gradient_of(squared / (2 * (distance + DISTANCE_EPSILON)), distance)
            apart = functional.relu(self._margin - distance).square()
        pair = torch.where(similar.reshape(-1).long() != 0, squared, apart)
        return pair.sum() / (2 * first.shape[0])


class SmoothL1Loss(Layer):
    """The sum of 0.5 d^2 where |d| < 1, else |d| - 0.5, over the items, as in the SSD branch.

    bottoms: two blobs (N, ...) of as many values; a third holds weights w for d = w (a - b). The original's
    gradient is that of d, not of a - b: the weights do not scale it.
    """

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        _check_equal_counts(self, *bottoms)
        return ((),)

    def forward(self, first: Tensor, second: Tensor, weights: Tensor | None = None) -> Tensor:
        difference = precise(first - second.reshape(first.shape))
        if weights is not None:
            difference = with_gradient_of(difference, difference * weights.reshape(first.shape))
        zeros = torch.zeros_like(difference)
        return functional.smooth_l1_loss(difference, zeros, reduction="sum") / first.shape[0]


class FastRCNNSmoothL1Loss(Layer):
    """Fast R-CNN's: the sum of w_out f(w_in (a - b)), over the items.

    f(d) is 0.5 (sigma d)^2 where |d| < 1 / sigma^2, else |d| - 0.5 / sigma^2. bottoms: two blobs (N, ...) of as many
    values; a third and a fourth hold the weights w_in and w_out. The weights get no gradient.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        sigma = spec.message.smooth_l1_loss_param.sigma
        if not 0 < sigma < 1e6:
            raise self.error(f"sigma must be above 0, got {sigma}", kind=SchemaError)
        self._beta = 1 / (sigma * sigma)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        _check_equal_counts(self, *bottoms)
        return ((),)

    def forward(self, first: Tensor, second: Tensor, *weights: Tensor) -> Tensor:
        difference = precise(first - second.reshape(first.shape))
        inside, outside = (*(weight.detach().reshape(first.shape) for weight in weights), None, None)[:2]
        if inside is not None:
            difference = difference * inside
        zeros = torch.zeros_like(difference)
        losses = functional.smooth_l1_loss(difference, zeros, reduction="none", beta=self._beta)
        if outside is not None:
            losses = losses * outside
        return losses.sum() / first.shape[0]


@meanings("SmoothL1Loss", SmoothL1Loss, FastRCNNSmoothL1Loss)
def _smooth_l1_loss(spec: LayerSpec, bottoms: Sequence[Shape]) -> type[Layer]:
    """Fast R-CNN's where the prototxt has its parameters or a fourth bottom; without them two bottoms mean the same.

    Three bottoms without parameters are SSD's: the value is the same, the gradient is not.
    """
    fast_rcnn = len(bottoms) == 4 or spec.message.HasField("smooth_l1_loss_param")
    return FastRCNNSmoothL1Loss if fast_rcnn else SmoothL1Loss
