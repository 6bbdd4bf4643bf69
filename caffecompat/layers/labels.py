"""What layers that read labels share: labels as indices, gradients that differ from the value's, normalizers."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape
from caffecompat.schema import caffe_pb2

Mode = caffe_pb2.LossParameter.NormalizationMode


@dataclass(frozen=True)
class Labels:
    """Labels as indices.

    Attributes:
        index: int64, in the labels' shape, each within 0..classes-1 so that it can index.
        counted: bool, False where the label is the one to ignore; None if there is no such label.
        outside: bool, True where a label that counts is no class.
    """

    index: Tensor
    counted: Tensor | None
    outside: Tensor

    def mask(self, losses: Tensor) -> Tensor:
        """Losses of the labels' shape: 0 where ignored, nan where the label is no class, no gradient for both."""
        losses = losses.masked_fill(self.outside, float("nan"))
        return losses if self.counted is None else losses.masked_fill(~self.counted, 0.0)

    def count(self) -> Tensor | int:
        """How many labels are not ignored."""
        return self.index.numel() if self.counted is None else self.counted.sum()


def as_labels(labels: Tensor, classes: int, ignore: int | None = None) -> Labels:
    """Labels (float or int, cut toward 0 as Caffe does) as indices below `classes`."""
    index = labels.detach().long()
    outside = (index < 0) | (index >= classes)
    counted = None
    if ignore is not None:
        counted = index != ignore
        outside = outside & counted
    return Labels(index.clamp(0, classes - 1), counted, outside)


def class_labels(layer: Layer, labels: Tensor, classes: int, ignore: int | None = None) -> Labels:
    """`as_labels`, refusing a label that is no class where Caffe would read beside the array.

    On the CPU. Elsewhere, and in a compiled net, looking would cost a synchronisation: there the loss
    becomes nan and the label gives no gradient.

    Raises:
        CaffeCompatError: on the CPU, a label is outside 0..classes-1.
    """
    result = as_labels(labels, classes, ignore)
    if labels.device.type == "cpu" and not torch.compiler.is_compiling() and bool(result.outside.any()):
        bad = labels[result.outside].flatten()[0].item()
        raise layer.error(
            f"a label is {bad:g}; labels must be within 0..{classes - 1} for {classes} scores",
            hint="loss_param { ignore_label: ... } leaves labels of one value out" if ignore is None else None,
            kind=CaffeCompatError,
        )
    return result


def normalization(spec: LayerSpec, default: int) -> int:
    """The mode by which a loss is divided. Caffe: `normalize` counts only where `normalization` is absent."""
    param = spec.message.loss_param
    if param.HasField("normalization"):
        return param.normalization
    if param.HasField("normalize"):
        return Mode.VALID if param.normalize else Mode.BATCH_SIZE
    return default


def ignore_label(spec: LayerSpec) -> int | None:
    """The label that a loss leaves out, if the prototxt states one."""
    param = spec.message.loss_param
    return param.ignore_label if param.HasField("ignore_label") else None


def normalizer(mode: int, outer: int, inner: int, valid: Tensor | int) -> Tensor | int:
    """What a loss over `outer` x `inner` positions, `valid` of them not ignored, is divided by: at least 1."""
    if mode == Mode.VALID:
        return valid.clamp(min=1) if isinstance(valid, Tensor) else max(1, valid)
    if mode == Mode.NONE:
        return 1
    return max(1, outer * inner if mode == Mode.FULL else outer)


def check_positions(layer: Layer, scores: Shape, labels: Shape, axis: int) -> None:
    """Refuse labels that are not as many as there are positions in `scores`, whose classes lie on `axis`.

    Raises:
        ShapeError: they are not.
    """
    positions = (*scores[:axis], *scores[axis + 1 :])
    if prod(labels) != prod(positions):
        raise layer.error(
            f"scores of shape {scores} with classes on axis {axis} need {prod(positions)} labels {positions}, "
            f"got {prod(labels)} of shape {labels}"
        )


def at_positions(scores: Tensor, labels: Tensor, axis: int) -> Tensor:
    """Labels in the shape of the scores, but of size 1 on the axis of the classes."""
    return labels.reshape([*scores.shape[:axis], 1, *scores.shape[axis + 1 :]])


def check_items(layer: Layer, first: Shape, second: Shape) -> None:
    """Refuse two bottoms of a loss that are not of as many items.

    Raises:
        ShapeError: their first sizes differ.
    """
    if not first or first[:1] != second[:1]:
        raise layer.error(f"both bottoms must have the same first size, got shapes {first} and {second}")


def by_item(blob: Tensor) -> Tensor:
    """A blob (N, ...) as (N, values of an item)."""
    return blob.flatten(1) if blob.ndim > 1 else blob.unsqueeze(1)


def precise(blob: Tensor) -> Tensor:
    """A blob in float32 at the least: a sum over a batch in half precision would be worth little."""
    return blob.to(torch.promote_types(blob.dtype, torch.float32))


class _WithGradientOf(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, source: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, grads[0]


def with_gradient_of(source: Tensor, value: Tensor) -> Tensor:
    """`value`, whose gradient goes to `source` as if it were that: where Caffe's backward is not its forward's."""
    result: Tensor = _WithGradientOf.apply(value.detach(), source)  # type: ignore[no-untyped-call]
    return result
