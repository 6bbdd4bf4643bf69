"""CenterLoss of caffe-face: pulls features to the center of their class."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.layers.labels import class_labels, precise


class _CenterLoss(torch.autograd.Function):
    """Half the mean squared distance (M, K) - centers (N, K) by label (M,), with caffe-face's gradients."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, centers: Tensor, label: Tensor) -> Tensor:
        distance = features - centers[label]
        ctx.save_for_backward(distance, label)
        ctx.classes = len(centers)
        return distance.square().sum() / (2 * len(features))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        distance, label = ctx.saved_tensors
        features = grads[0] * distance / len(distance) if ctx.needs_input_grad[0] else None
        centers = None
        if ctx.needs_input_grad[1]:
            count = torch.bincount(label, minlength=ctx.classes)[:, None].to(distance.dtype)
            total = distance.new_zeros(ctx.classes, distance.shape[1]).index_add_(0, label, distance)
            centers = -total / (count + 1)
        return features, centers, None


@layer("CenterLoss")
class CenterLoss(Layer):
    """Half the mean of the squared distance of each item to the center of its class.

    bottoms: features (M, ...), flattened from `axis`; M labels. The one blob holds `num_output` centers. Their
    gradient is the original's rule, not the loss's derivative: sum of (center - feature) over the items of a class,
    divided by one more than there are, and not multiplied by the loss's weight.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.center_loss_param
        self._classes = param.num_output
        if self._classes < 1:
            raise self.error("center_loss_param needs num_output, the number of classes", kind=SchemaError)
        axis = self.axis(param.axis, len(bottoms[0]))
        self._values = prod(bottoms[0][axis:])
        self.declare("center", (self._classes, self._values), param.center_filler)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        features, labels = bottoms
        if not features or features[0] * self._values != prod(features):
            raise self.error(f"expected features of {self._values} values an item, got {features}")
        if not labels or labels[0] != features[0] or prod(labels[1:]) != 1:
            raise self.error(f"there must be one label an item, got features {features} and labels {labels}")
        return ((),)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        index = class_labels(self, labels.reshape(-1), self._classes).index
        features = precise(features).reshape(len(index), self._values)
        center = self.get_parameter("center").to(features.dtype)
        loss: Tensor = _CenterLoss.apply(features, center, index)  # type: ignore[no-untyped-call]
        return loss
