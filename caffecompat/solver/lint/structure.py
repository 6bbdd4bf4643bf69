"""Rules about how layers are joined: losses, labels, dead ends, what stands before a loss, names."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from caffecompat.errors import quoted
from caffecompat.graph.spec import BlobKey, Graph, LayerSpec
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.lint.where import LEARNED, makers, on_labels

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import LintedNet, Subject

NO_LOSS = Rule("no-loss", "error", "A net that is trained needs a loss in phase TRAIN.")
NO_LABEL = Rule("no-label", "warning", "A loss or an Accuracy compares scores with labels, not with what is computed.")
DEAD_END = Rule("dead-end", "warning", "A top that no layer reads, and that is no loss, is computed for nothing.")
UNREAD_DATA = Rule("unread-data", "info", "A top of a data layer that no layer reads is loaded for nothing.")
DROPOUT_LAST = Rule("dropout-last", "warning", "Dropout between the scores and their loss drops scores themselves.")
SQUASHED_TWICE = Rule("squashed-twice", "warning", "A loss that holds a softmax, or a sigmoid, takes plain scores.")
IN_PLACE_SPLIT = Rule(
    "in-place-split", "warning", "Tops of a Split share their memory in Caffe: work in place on one changes all."
)
SAME_NAME = Rule("same-name", "warning", "Weights are matched by name: of layers of one name all but one get none.")
BATCH_NORM = Rule(
    "batch-norm",
    "warning",
    "BatchNorm takes the batch's statistics in TRAIN and the kept ones in TEST, unless told not.",
)
RULES = (
    NO_LOSS,
    NO_LABEL,
    DEAD_END,
    UNREAD_DATA,
    DROPOUT_LAST,
    SQUASHED_TWICE,
    IN_PLACE_SPLIT,
    SAME_NAME,
    BATCH_NORM,
)

EVALUATION = frozenset(("Accuracy", "DetectionEvaluate", "DetectionOutput"))
SQUASHES = {
    "SoftmaxWithLoss": "Softmax",
    "SigmoidCrossEntropyLoss": "Sigmoid",
}
# Layers whose top is their bottom's memory in Caffe, seen otherwise.
PASSES = frozenset(("Flatten", "Reshape"))


def check(subject: Subject) -> Iterator[Finding]:
    """How the layers of each net are joined."""
    if subject.train is not None:
        yield from _losses(subject, subject.train)
        yield from _ends(subject.train.graph)
    for linted in subject.nets:
        for spec in linted.graph.layers:
            yield from _before_loss(linted.graph, spec)
            yield from _batch_norm(spec)
        yield from _labels(linted.graph)
        yield from _in_place(linted.graph)
        yield from _names(linted)


def _losses(subject: Subject, linted: LintedNet) -> Iterator[Finding]:
    if subject.solver is not None and not any(weight for spec in linted.graph.layers for weight in spec.loss_weights):
        hint = "add a loss layer, such as SoftmaxWithLoss"
        yield NO_LOSS.at(linted.parsed.position(), "the train net has no loss in phase TRAIN", hint=hint)


def _labels(graph: Graph) -> Iterator[Finding]:
    """Labels that come from layers that learn."""
    learned: set[BlobKey] = set()
    for spec in graph.layers:
        if on_labels(spec) and spec.bottoms[1] in learned:
            yield NO_LABEL.on(spec, f"its labels, {quoted(spec.bottoms[1].name)}, are computed by layers that learn")
        if spec.type in LEARNED or not learned.isdisjoint(spec.bottoms):
            learned.update(spec.tops)


def _ends(graph: Graph) -> Iterator[Finding]:
    outputs = set(graph.outputs)
    for spec in graph.layers:
        for key, weight in zip(spec.tops, spec.loss_weights, strict=True):
            if key not in outputs or weight or spec.row.loss or spec.type in EVALUATION:
                continue
            if spec.row.data:
                yield UNREAD_DATA.on(spec, f"no layer reads {quoted(key.name)}")
            else:
                hint = "a Silence layer takes what is not wanted"
                yield DEAD_END.on(spec, f"no layer reads {quoted(key.name)}, and it is no loss", hint)


def _before_loss(graph: Graph, spec: LayerSpec) -> Iterator[Finding]:
    """What stands between the scores and a loss, or an Accuracy."""
    if not spec.bottoms or not (spec.row.loss or spec.type == "Accuracy"):
        return
    maker = makers(graph).get(spec.bottoms[0])
    if maker is None:
        return
    if maker.type == "Dropout" and spec.phase == "TRAIN":
        yield DROPOUT_LAST.on(maker, f"it drops the scores that layer {quoted(spec.name)} compares with labels")
    if SQUASHES.get(spec.type) == maker.type:
        text = f"it takes the {maker.type.lower()} of {quoted(maker.name)}, and does one itself"
        yield SQUASHED_TWICE.on(spec, text, f"give it the scores, {quoted(maker.bottoms[0].name)}")


def _in_place(graph: Graph) -> Iterator[Finding]:
    """Work in place on memory that another layer reads under another name."""
    made = makers(graph)
    for spec in graph.layers:
        for bottom, top in zip(spec.bottoms, spec.tops, strict=False):
            maker = made.get(bottom)
            if bottom.name != top.name or maker is None:
                continue
            if maker.type == "Split" and len(maker.tops) > 1:
                others = [key.name for key in maker.tops if key != bottom]
            elif maker.type in PASSES and maker.tops[0].name != maker.bottoms[0].name:
                read = any(maker.bottoms[0] in other.bottoms for other in graph.layers[maker.index + 1 :])
                others = [maker.bottoms[0].name] if read else []
            else:
                continue
            if others:
                text = f"works in place on {quoted(bottom.name)}, which is the memory of {quoted(others[0])} in Caffe"
                yield IN_PLACE_SPLIT.on(spec, text, "give its top a name of its own")


def _names(linted: LintedNet) -> Iterator[Finding]:
    """Layers of one name, both with parameters."""
    if linted.net is None:
        return
    first: dict[str, LayerSpec] = {}
    for layer in linted.net.layers:
        if not layer.blob_names:
            continue
        other = first.setdefault(layer.spec.name, layer.spec)
        if other is not layer.spec:
            yield SAME_NAME.on(layer.spec, f"another layer with parameters has this name, of type {other.type}")


def _batch_norm(spec: LayerSpec) -> Iterator[Finding]:
    param = spec.message.batch_norm_param
    if spec.type != "BatchNorm" or not param.HasField("use_global_stats"):
        return
    if param.use_global_stats and spec.phase == "TRAIN":
        yield BATCH_NORM.on(spec, "use_global_stats: true in TRAIN: statistics are not learnt, those of weights count")
    elif not param.use_global_stats and spec.phase == "TEST":
        yield BATCH_NORM.on(spec, "use_global_stats: false in TEST: results depend on what else is in the batch")
