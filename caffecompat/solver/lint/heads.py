"""The parts of an SSD: what predicts locations and confidences, the priors, and the layers that take them together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from caffecompat.graph.spec import Graph, LayerSpec
from caffecompat.solver.labels import SCORING
from caffecompat.solver.multibox import Leaf, leaves


@dataclass(frozen=True)
class Taker:
    """A layer that takes predictions and priors: MultiBoxLoss or DetectionOutput, which name things differently.

    Attributes:
        spec: the layer.
        classes: num_classes.
        background: background_label_id.
        coding: what decides how boxes are encoded, by field of MultiBoxLoss and of DetectionOutput.
        location: what locations come from.
        confidence: what confidences come from.
        prior: what priors come from.
    """

    spec: LayerSpec
    classes: int
    background: int
    coding: dict[tuple[str, str], object]
    location: tuple[Leaf, ...]
    confidence: tuple[Leaf, ...]
    prior: tuple[Leaf, ...]

    @property
    def loc_classes(self) -> int:
        """For how many classes locations are predicted."""
        return 1 if self.coding["share_location", "share_location"] else self.classes

    @property
    def priors(self) -> list[LayerSpec]:
        """The PriorBox layers, in order; none if something else makes priors too."""
        specs = [leaf.spec for leaf in self.prior]
        return specs if all(spec.type == "PriorBox" for spec in specs) else []

    @property
    def heads(self) -> list[tuple[Leaf, Leaf, LayerSpec]]:
        """For each PriorBox what predicts locations and confidences for it; none if they do not stand side by side."""
        known = all(leaf.spec.type in SCORING for leaf in (*self.location, *self.confidence))
        if not known or not len(self.location) == len(self.confidence) == len(self.priors):
            return []
        return list(zip(self.location, self.confidence, self.priors, strict=True))


def takers(graph: Graph) -> list[Taker]:
    """The layers of a net that take predictions and priors."""
    return [taker for spec in graph.layers if len(spec.bottoms) > 2 for taker in _taker(graph, spec)]


def _taker(graph: Graph, spec: LayerSpec) -> Iterator[Taker]:
    loss, output = spec.message.multibox_loss_param, spec.message.detection_output_param
    if spec.type == "MultiBoxLoss":
        classes, background = loss.num_classes, loss.background_label_id
        values = (loss.code_type, loss.share_location, loss.encode_variance_in_target)
    elif spec.type == "DetectionOutput":
        classes, background = output.num_classes, output.background_label_id
        values = (output.code_type, output.share_location, output.variance_encoded_in_target)
    else:
        return
    fields = (
        ("code_type", "code_type"),
        ("share_location", "share_location"),
        ("encode_variance_in_target", "variance_encoded_in_target"),
    )
    parts = [leaves(graph, key) for key in spec.bottoms[:3]]
    yield Taker(spec, classes, background, dict(zip(fields, values, strict=True)), *parts)
