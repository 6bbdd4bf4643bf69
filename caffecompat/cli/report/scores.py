"""Scores of classes beside labels: which blobs of a net hold them, and what of them counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from torch import Tensor

from caffecompat.graph.spec import BlobKey, Graph, LayerSpec, Shape


@dataclass(frozen=True)
class Scored:
    """What an Accuracy or a SoftmaxWithLoss layer compares.

    Attributes:
        spec: the layer.
        scores: the blob of scores.
        labels: the blob of labels.
        axis: where the classes lie in the scores.
        ignore: the label that does not count, or None.
        shape: that of the scores, as built.
    """

    spec: LayerSpec
    scores: BlobKey
    labels: BlobKey
    axis: int
    ignore: int | None
    shape: Shape

    @property
    def blobs(self) -> tuple[str, ...]:
        """The names of the blobs of scores and labels."""
        return self.scores.name, self.labels.name

    @property
    def positions(self) -> Shape:
        """The sizes that follow the classes: of one value each where items are classified, else of label maps."""
        return self.shape[self.axis + 1 :]

    @property
    def maps(self) -> bool:
        """Whether they are label maps: (N, classes, height, width) of more than one place."""
        return self.axis == 1 and len(self.positions) == 2 and prod(self.positions) > 1

    @property
    def items(self) -> bool:
        """Whether each item of a batch has one label."""
        return self.axis == 1 and prod(self.positions) == 1

    def take(self, blobs: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Of a pass: scores (N, classes, ...), labels int64 (N, ...), and which of them count, bool (N, ...)."""
        scores, labels = (blobs[name].detach().cpu().float() for name in self.blobs)
        whole = labels.reshape(scores.shape[0], *scores.shape[2:]).long()
        counted = (whole >= 0) & (whole < scores.shape[1])
        return scores, whole, counted if self.ignore is None else counted & (whole != self.ignore)


def find_scores(graph: Graph, shapes: Mapping[BlobKey, Shape]) -> Scored | None:
    """The scores that a net is judged by: those of its last Accuracy layer, else of its last SoftmaxWithLoss.

    Args:
        graph: the net.
        shapes: the shape of each blob.
    """
    for kind in ("Accuracy", "SoftmaxWithLoss"):
        for spec in reversed(graph.layers):
            if spec.type == kind:
                return _scored(spec, shapes[spec.bottoms[0]])
    return None


def _scored(spec: LayerSpec, shape: Shape) -> Scored:
    accuracy, loss = spec.message.accuracy_param, spec.message.loss_param
    if spec.type == "Accuracy":
        axis, ignore = accuracy.axis, accuracy.ignore_label if accuracy.HasField("ignore_label") else None
    else:
        axis, ignore = spec.message.softmax_param.axis, loss.ignore_label if loss.HasField("ignore_label") else None
    scores, labels = spec.bottoms[:2]
    return Scored(spec, scores, labels, axis % len(shape), ignore, shape)
