"""Rules about SSD's own layers and settings: evaluation, classes, coding, loss, output, and the size of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError, quoted
from caffecompat.graph.spec import Graph, LayerSpec
from caffecompat.layers.labels import Mode, normalization
from caffecompat.schema import caffe_pb2
from caffecompat.solver.box_causes import is_vgg
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.lint.heads import Taker, takers
from caffecompat.solver.lint.structure import SQUASHED_TWICE
from caffecompat.solver.lint.where import makers
from caffecompat.solver.listeners import number
from caffecompat.solver.testing import check_evaluation

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import LintedNet, Subject

EVAL_TYPE = Rule(
    "eval-type", "error", 'eval_type and ap_version are known ones, and "detection" for DetectionEvaluate.'
)
SSD_CLASSES = Rule("ssd-classes", "error", "Loss, output and evaluation of detections know the same classes.")
SSD_CODING = Rule("ssd-coding", "error", "Boxes are decoded in the way in which the loss encodes them.")
SSD_SCORES = Rule("ssd-scores", "error", "DetectionOutput takes probabilities, of the kind that the loss trains.")
SSD_LOSS = Rule("ssd-loss", "warning", "A MultiBoxLoss without locations, negatives or matches trains half of the net.")
SSD_OUTPUT = Rule("ssd-output", "warning", "DetectionOutput keeps some hundred of the best boxes, not all or none.")
SSD_BATCH = Rule("ssd-batch", "warning", "SSD's rate of 0.001 is for 32 pictures an iteration; fewer need a lower one.")
SSD_WEIGHTS = Rule("ssd-weights", "info", "SSD is trained from the weights of a reduced VGG-16, not from fillers.")
RULES = (EVAL_TYPE, SSD_CLASSES, SSD_CODING, SSD_SCORES, SSD_LOSS, SSD_OUTPUT, SSD_BATCH, SSD_WEIGHTS)

SQUASHING = {"Softmax": "SOFTMAX", "Sigmoid": "LOGISTIC"}
# What SSD's authors train with.
PAPER_BATCH, PAPER_LR = 32, 0.001
# How far above that, in proportion, a rate is doubtful.
ABOVE = 1.5
HIGH_THRESHOLD = 0.1
CODE_TYPES = {
    value.number: value.name for value in caffe_pb2.PriorBoxParameter.DESCRIPTOR.enum_types_by_name["CodeType"].values
}


def check(subject: Subject) -> Iterator[Finding]:
    """What of a subject belongs to SSD."""
    yield from _evaluation(subject)
    for linted in subject.nets:
        for taker in takers(linted.graph):
            yield from _scores(taker)
            if taker.spec.type == "MultiBoxLoss":
                yield from _loss(taker.spec)
            else:
                yield from _output(taker.spec, linted.graph)
        yield from _evaluated(linted.graph)
    if subject.train is not None:
        losses = [taker for taker in takers(subject.train.graph) if taker.spec.type == "MultiBoxLoss"]
        for loss in losses[:1]:
            for linted in subject.tests:
                yield from _as_trained(loss, linted)
            yield from _batch(subject, subject.train, loss.spec)
        yield from _weights(subject, subject.train)


# --- evaluation


def _evaluation(subject: Subject) -> Iterator[Finding]:
    solver = subject.solver
    if solver is None:
        return
    try:
        check_evaluation(solver)
    except CaffeCompatError as error:
        yield EVAL_TYPE.of(error)
        return
    detection = solver.message.eval_type == "detection"
    for linted in subject.tests:
        made = makers(linted.graph)
        for key in linted.graph.outputs:
            spec = made.get(key)
            if spec is None or detection == (spec.type == "DetectionEvaluate"):
                continue
            if detection:
                text = (
                    f'{quoted(key.name)} is an output, and eval_type "detection" takes those of DetectionEvaluate only'
                )
                yield EVAL_TYPE.on(spec, text, "a Silence layer takes what is not wanted")
            else:
                text = f"{quoted(key.name)} is rows of detections, of which there is no mean"
                yield EVAL_TYPE.on(spec, text, 'eval_type: "detection" in the solver makes average precisions of them')


def _evaluated(graph: Graph) -> Iterator[Finding]:
    """DetectionEvaluate against the DetectionOutput before it."""
    made = makers(graph)
    for spec in graph.layers:
        output = made.get(spec.bottoms[0]) if spec.type == "DetectionEvaluate" and spec.bottoms else None
        if output is None or output.type != "DetectionOutput":
            continue
        own, theirs = spec.message.detection_evaluate_param, output.message.detection_output_param
        yield from _same_classes(
            spec, (own.num_classes, own.background_label_id), output, (theirs.num_classes, theirs.background_label_id)
        )


def _as_trained(loss: Taker, linted: LintedNet) -> Iterator[Finding]:
    """The DetectionOutput of a test net against the loss."""
    for taker in takers(linted.graph):
        if taker.spec.type != "DetectionOutput":
            continue
        yield from _same_classes(
            taker.spec, (taker.classes, taker.background), loss.spec, (loss.classes, loss.background)
        )
        for (loss_field, field), value in loss.coding.items():
            if taker.coding[loss_field, field] != value:
                own, theirs = (_shown(field, each) for each in (taker.coding[loss_field, field], value))
                yield SSD_CODING.on(
                    taker.spec, f"{field} is {own}, and {loss_field} of layer {quoted(loss.spec.name)} {theirs}"
                )
        trained = loss.spec.message.multibox_loss_param.conf_loss_type
        wanted = caffe_pb2.MultiBoxLossParameter.ConfLossType.Name(trained)
        for spec in _squashing(taker)[:1]:
            if SQUASHING[spec.type] != wanted:
                yield SSD_SCORES.on(spec, f"confidences pass a {spec.type}, and conf_loss_type {wanted} trains them")


def _same_classes(
    spec: LayerSpec, own: tuple[int, int], other: LayerSpec, theirs: tuple[int, int]
) -> Iterator[Finding]:
    for field, one, two in zip(("num_classes", "background_label_id"), own, theirs, strict=True):
        # Of DetectionOutput -1 says that no class is the background.
        if one != two and -1 not in (one, two):
            yield SSD_CLASSES.on(spec, f"{field} is {one}, and {two} in layer {quoted(other.name)}")


def _shown(field: str, value: object) -> str:
    return CODE_TYPES[int(str(value))] if field == "code_type" else str(value).lower()


# --- confidences


def _scores(taker: Taker) -> Iterator[Finding]:
    """What stands between the layers of confidences and the loss, or the output."""
    squashing = _squashing(taker)
    if taker.spec.type == "MultiBoxLoss":
        for spec in squashing:
            text = f"its confidences have passed the {spec.type} of layer {quoted(spec.name)}, and it does one itself"
            yield SQUASHED_TWICE.on(taker.spec, text)
        return
    if taker.heads and not squashing:
        hint = "a Reshape to rows of num_classes, a Softmax of axis 2 and a Flatten stand before it"
        yield SSD_SCORES.on(taker.spec, "its confidences have passed no Softmax and no Sigmoid", hint)
    passed = {spec.index: spec for leaf in taker.confidence for spec in leaf.passed}
    for spec in passed.values():
        rows = list(spec.message.reshape_param.shape.dim)
        if spec.type == "Reshape" and len(rows) == 3 and rows[2] > 0 and rows[2] != taker.classes:
            text = f"rows of {rows[2]}, and num_classes of layer {quoted(taker.spec.name)} is {taker.classes}"
            yield SSD_SCORES.on(spec, text, f"dim: {taker.classes}")


def _squashing(taker: Taker) -> list[LayerSpec]:
    passed = {spec.index: spec for leaf in taker.confidence for spec in leaf.passed if spec.type in SQUASHING}
    return list(passed.values())


# --- settings


def _loss(spec: LayerSpec) -> Iterator[Finding]:
    param = spec.message.multibox_loss_param
    parts = list(spec.message.propagate_down)[:2]
    for what, wanted in zip(("locations", "confidences"), parts, strict=False):
        if not wanted:
            yield SSD_LOSS.on(spec, f"propagate_down is false for {what}: they are not trained")
    if not param.loc_weight > 0:
        yield SSD_LOSS.on(spec, f"loc_weight is {number(param.loc_weight)}: locations are not trained")
    if param.mining_type == caffe_pb2.MultiBoxLossParameter.MAX_NEGATIVE and not param.neg_pos_ratio > 0:
        yield SSD_LOSS.on(spec, f"neg_pos_ratio is {number(param.neg_pos_ratio)}: nothing is trained to be background")
    if not 0 < param.overlap_threshold < 1:
        yield SSD_LOSS.on(spec, f"overlap_threshold is {number(param.overlap_threshold)}; 0.5 is usual")


def _output(spec: LayerSpec, graph: Graph) -> Iterator[Finding]:
    param = spec.message.detection_output_param
    nms = param.nms_param
    threshold = param.confidence_threshold
    for field, value, given in (
        ("top_k", nms.top_k, nms.HasField("top_k")),
        ("keep_top_k", param.keep_top_k, param.HasField("keep_top_k")),
    ):
        if given and value == 0:
            yield SSD_OUTPUT.on(spec, f"{field} is 0: no detection is kept", f"{field}: -1 keeps all")
    if not threshold > 0 and not (nms.HasField("top_k") and nms.top_k >= 0):
        text = (
            f"confidence_threshold is {number(threshold)}, and no top_k is stated: all boxes of each class are compared"
        )
        yield SSD_OUTPUT.on(spec, text, "confidence_threshold: 0.01, and top_k: 400 in nms_param, are usual")
    if not 0 < nms.nms_threshold <= 0.9:
        yield SSD_OUTPUT.on(spec, f"nms_threshold is {number(nms.nms_threshold)}; 0.45 is usual")
    evaluated = any(other.type == "DetectionEvaluate" and set(other.bottoms) & set(spec.tops) for other in graph.layers)
    if evaluated and threshold >= HIGH_THRESHOLD:
        text = f"confidence_threshold is {number(threshold)}: average precision is that of surer detections only"
        yield SSD_OUTPUT.on(spec, text, "confidence_threshold: 0.01 is usual")


def _batch(subject: Subject, linted: LintedNet, loss: LayerSpec) -> Iterator[Finding]:
    """How many pictures an iteration takes, against the authors', for the rate that they take."""
    data = next((spec for spec in linted.data_layers if spec.type == "AnnotatedData"), None)
    solver = subject.solver
    if solver is None or data is None or solver.message.type != "SGD" or normalization(loss, Mode.VALID) != Mode.VALID:
        return
    message = solver.message
    factors = {
        "batch_size": data.message.data_param.batch_size,
        "iter_size": max(message.iter_size, 1),
        "processes": subject.asked.processes,
    }
    images = factors["batch_size"] * factors["iter_size"] * factors["processes"]
    rate = PAPER_LR * images / PAPER_BATCH
    if not images or message.base_lr <= ABOVE * rate:
        return
    named = " x ".join(f"{name} {value}" for name, value in factors.items())
    text = (
        f"base_lr {number(message.base_lr)} for {named} = {images} pictures an iteration; SSD's authors take "
        f"{PAPER_LR:g} for {PAPER_BATCH}"
    )
    more = -(-PAPER_BATCH // images) * factors["iter_size"]
    hint = (
        f"base_lr: {number(rate)} is in proportion; iter_size: {more}, or more processes, take {PAPER_BATCH} pictures"
    )
    yield SSD_BATCH.at(solver.position("base_lr", 0), text, hint=hint)


def _weights(subject: Subject, linted: LintedNet) -> Iterator[Finding]:
    """Whether anything is given to start VGG's layers from."""
    solver = subject.solver
    if solver is None or linted.net is None or subject.asked.weights or solver.message.weights:
        return
    if is_vgg(linted.net):
        hint = "--weights VGG_ILSVRC_16_layers_fc_reduced.caffemodel, here and where it is trained"
        yield SSD_WEIGHTS.at(solver.position(), "no weights are named for the layers of VGG, conv1_1 to fc7", hint=hint)
