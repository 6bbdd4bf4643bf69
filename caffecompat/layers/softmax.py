"""Softmax and SoftmaxWithLoss."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, prod

import torch
from torch import Tensor

from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.layers.labels import (
    Mode,
    at_positions,
    check_items,
    check_positions,
    class_labels,
    ignore_label,
    normalization,
    normalizer,
    precise,
    with_gradient_of,
)

LOG_FLT_MIN = log(2.0**-126)


@layer("Softmax")
class Softmax(Layer):
    """Softmax along `axis`. bottom and top: one shape."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self._axis = spec.message.softmax_param.axis

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        self.axis(self._axis, len(bottoms[0]))
        return bottoms

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(x, self.axis(self._axis, x.ndim))


@layer("SoftmaxWithLoss")
class SoftmaxWithLoss(Layer):
    """The mean of -log(softmax of the scores at the label).

    bottoms: scores (..., C, ...) with C on `softmax_param.axis`; labels, any shape of as many values as
    scores have positions. tops: the loss, a scalar; the softmax if a second top asks for it, which has no
    gradient (Caffe: its diff is not read).

    Caffe: probabilities below FLT_MIN count as FLT_MIN in the loss, but not in the gradient. The loss is
    divided by at least 1: with VALID (the default) the labels that are not `ignore_label`, FULL all of
    them, BATCH_SIZE the sizes before the axis, NONE 1.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self._axis = spec.message.softmax_param.axis
        self._mode = normalization(spec, Mode.VALID)
        self._ignore = ignore_label(spec)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        scores, labels = bottoms
        check_positions(self, scores, labels, self.axis(self._axis, len(scores)))
        check_items(self, scores, labels)
        return ((), scores)[: len(self.spec.tops)]

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        scores = precise(scores)
        axis = self.axis(self._axis, scores.ndim)
        found = class_labels(self, at_positions(scores, labels, axis), scores.shape[axis], self._ignore)
        picked = torch.log_softmax(scores, axis).gather(axis, found.index)
        picked = with_gradient_of(picked, picked.clamp(min=LOG_FLT_MIN))
        outer, inner = prod(scores.shape[:axis]), prod(scores.shape[axis + 1 :])
        loss = -found.mask(picked).sum() / normalizer(self._mode, outer, inner, found.count())
        return loss if len(self.spec.tops) < 2 else (loss, torch.softmax(scores.detach(), axis))
