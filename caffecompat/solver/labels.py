"""Which layers of a net read labels as numbers of classes, and which labels they cannot take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.graph.dialects import DIALECTS
from caffecompat.graph.spec import BlobKey, Graph, LayerSpec, Shape
from caffecompat.layers.labels import ignore_label

# The layers whose top is a number of scores of their own choice.
SCORING = {
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "Embed": "embed_param",
    "InnerProduct": "inner_product_param",
}


@dataclass(frozen=True)
class LabelUse:
    """A layer that takes labels for numbers of classes.

    Attributes:
        spec: the layer.
        scores: its bottom of scores.
        labels: its bottom of labels.
        classes: how many classes there are.
        ignore: a label that it leaves out, or None.
        scoring: the layer whose `num_output` decides how many classes there are, if that is known.
    """

    spec: LayerSpec
    scores: BlobKey
    labels: BlobKey
    classes: int
    ignore: int | None
    scoring: LayerSpec | None

    def outside(self, labels: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
        """Which labels are no class, in the shape of `labels`; they are cut toward 0 first, as Caffe does."""
        whole = np.trunc(labels)
        bad: npt.NDArray[np.bool_] = ~((whole >= 0) & (whole < self.classes))
        return bad if self.ignore is None else np.logical_and(bad, whole != self.ignore)


def label_uses(graph: Graph, shapes: Mapping[BlobKey, Shape]) -> list[LabelUse]:
    """The layers that take labels for numbers of classes, in order.

    Args:
        graph: the net.
        shapes: the shape of every blob.
    """
    found = []
    for spec in graph.layers:
        if len(spec.bottoms) < 2:
            continue
        classes = _classes(spec, shapes[spec.bottoms[0]])
        if classes is None:
            continue
        param = spec.message.accuracy_param
        ignore = ignore_label(spec)
        if spec.type == "Accuracy":
            ignore = param.ignore_label if param.HasField("ignore_label") else None
        scoring = None if spec.type == "CenterLoss" else _scoring(graph, spec.bottoms[0], classes)
        found.append(LabelUse(spec, spec.bottoms[0], spec.bottoms[1], classes, ignore, scoring))
    return found


def _classes(spec: LayerSpec, scores: Shape) -> int | None:
    """How many classes a layer knows, or None if it is none that reads labels."""
    message = spec.message
    if spec.type == "CenterLoss":
        return message.center_loss_param.num_output
    if spec.type in ("HingeLoss", "MultinomialLogisticLoss"):
        return prod(scores[1:])
    axis = {
        "SoftmaxWithLoss": message.softmax_param.axis,
        "Accuracy": message.accuracy_param.axis,
        "InfogainLoss": message.infogain_loss_param.axis,
    }.get(spec.type)
    if axis is None:
        return None
    if spec.type == "InfogainLoss" and not DIALECTS[spec.dialect].infogain_of_scores:
        return prod(scores[1:])
    return scores[axis] if -len(scores) <= axis < len(scores) else None


def _scoring(graph: Graph, scores: BlobKey, classes: int) -> LayerSpec | None:
    """The layer that makes these scores, seen through layers that pass them on."""
    makers = {key: spec for spec in graph.layers for key in spec.tops}
    spec = makers.get(scores)
    while spec is not None:
        if spec.type in SCORING:
            stated: int = getattr(spec.message, SCORING[spec.type]).num_output
            return spec if stated == classes else None
        if len(spec.bottoms) != 1:
            return None
        spec = makers.get(spec.bottoms[0])
    return None
