"""Accuracy: how many labels are among the best scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from caffecompat.graph.dialects import DIALECTS
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.layers.labels import as_labels, at_positions, check_positions


@layer("Accuracy")
class Accuracy(Layer):
    """The share of labels whose score is among the `top_k` best of their position.

    bottoms: scores (..., C, ...) with C on `axis`; labels, as many values as there are positions. tops:
    the share, a scalar; if asked, the share for each class (C,), 0 for a class without labels.

    Where scores are equal the SSD branch ranks the higher class first, and BVLC's Caffe counts every tie
    against the label. Without a label that counts the first gives nan, the second 0. A label that is no
    class counts as wrong (Caffe reads beside the array).
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.accuracy_param
        self._axis, self._top_k = param.axis, param.top_k
        self._ignore = param.ignore_label if param.HasField("ignore_label") else None
        self._rules = DIALECTS[spec.dialect]

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        scores, labels = bottoms
        axis = self.axis(self._axis, len(scores))
        check_positions(self, scores, labels, axis)
        if self._top_k > scores[axis]:
            raise self.error(f"top_k {self._top_k} is more than the {scores[axis]} classes on axis {axis} of {scores}")
        return ((), (scores[axis],))[: len(self.spec.tops)]

    def forward(self, scores: Tensor, labels: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        scores = scores.detach()
        axis = self.axis(self._axis, scores.ndim)
        classes = scores.shape[axis]
        found = as_labels(at_positions(scores, labels, axis), classes, self._ignore)
        right = (self._better(scores, found.index, axis) < self._top_k) & ~found.outside
        counted = torch.ones_like(right) if found.counted is None else found.counted
        right = right & counted
        total = counted.sum()
        accuracy = torch.where(total > 0, right.sum() / total, self._rules.accuracy_of_nothing)
        if len(self.spec.tops) < 2:
            return accuracy
        index = found.index.flatten()
        each = (counted & ~found.outside).flatten().long()
        zeros = torch.zeros(classes, dtype=torch.long, device=scores.device)
        hits = zeros.scatter_add(0, index, right.flatten().long())
        return accuracy, hits / zeros.scatter_add(0, index, each).clamp(min=1)

    def _better(self, scores: Tensor, index: Tensor, axis: int) -> Tensor:
        """How many classes rank before the label's, at every position."""
        own = scores.gather(axis, index)
        if not self._rules.accuracy_ties_by_class:
            return (scores >= own).sum(axis, keepdim=True) - 1
        numbers = torch.arange(scores.shape[axis], device=scores.device)
        numbers = numbers.reshape([-1 if place == axis else 1 for place in range(scores.ndim)])
        return ((scores > own) | ((scores == own) & (numbers > index))).sum(axis, keepdim=True)
