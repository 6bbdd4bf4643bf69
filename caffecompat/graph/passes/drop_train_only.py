"""Losses and evaluation drop out of a training net; what they read becomes the output."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from caffecompat.errors import GraphError
from caffecompat.graph.builder import relink
from caffecompat.graph.linker import Source
from caffecompat.graph.spec import BlobKey, Graph, LayerSpec
from caffecompat.schema import caffe_pb2

# Which bottoms of a layer that drops out are results of the net; the others are labels and the like.
_RESULTS: dict[str, tuple[int, ...]] = {
    "Accuracy": (0,),
    "ContrastiveLoss": (0, 1),
    "DetectionEvaluate": (0,),
    "HingeLoss": (0,),
    "InfogainLoss": (0,),
    "MultiBoxLoss": (0, 1, 2),
    "MultinomialLogisticLoss": (0,),
    "SigmoidCrossEntropyLoss": (0,),
    "Silence": (),
    "SoftmaxWithLoss": (0,),
}
# The layer that remains of a loss, and the field with its parameters.
_REMAINS = {"SoftmaxWithLoss": ("Softmax", "softmax_param"), "SigmoidCrossEntropyLoss": ("Sigmoid", "sigmoid_param")}
_EVALUATION = frozenset(("Accuracy", "DetectionEvaluate"))
# Layer types that have weights.
_LEARNING = frozenset(
    (
        "BatchNorm",
        "Bias",
        "Convolution",
        "Deconvolution",
        "Embed",
        "InnerProduct",
        "LSTM",
        "Normalize",
        "PReLU",
        "Parameter",
        "RNN",
        "Scale",
    )
)


@dataclass
class _Plan:
    """What happens to the layers, by index."""

    dropped: set[int] = field(default_factory=set)
    remains: dict[int, caffe_pb2.LayerParameter] = field(default_factory=dict)
    gone: set[BlobKey] = field(default_factory=set)
    results: dict[int, list[BlobKey]] = field(default_factory=dict)
    kept: set[int] = field(default_factory=set)
    needed: set[BlobKey] = field(default_factory=set)


def drop_train_only(graph: Graph) -> tuple[Graph, list[str]]:
    """Take out the losses, the evaluation, and what only they need.

    SoftmaxWithLoss leaves a Softmax, and SigmoidCrossEntropyLoss a Sigmoid, unless the net has one on the same
    scores already; the one of the greatest loss weight makes the blob "prob", as deploy files have it. Of other
    losses and of evaluation layers, the results they read become outputs. Data layers stay, with their labels:
    `data_to_inputs` takes those.

    Returns:
        The graph, and a sentence for each change.

    Raises:
        GraphError: nothing remains.
    """
    plan = _Plan()
    _drop(graph, plan)
    if not plan.dropped:
        return graph, []
    _substitute(graph, plan)
    _keep_needed(graph, plan)
    sources = []
    for spec in graph.layers:
        if spec.index in plan.remains:
            sources.append(Source(plan.remains[spec.index], spec.position))
        elif spec.index in plan.kept:
            sources.append(_trimmed(spec, plan.needed))
    if not sources:
        raise GraphError("nothing remains of the net when losses and evaluation drop out", file=graph.file)
    new = relink(graph, sources)
    return new, _notes(graph, new, plan)


def _drop(graph: Graph, plan: _Plan) -> None:
    """Choose the layers that drop out, and which of the blobs they read are results."""
    read = {key for spec in graph.layers for key in spec.bottoms}
    learned: set[BlobKey] = set()
    for spec in graph.layers:
        if spec.type in _LEARNING or not learned.isdisjoint(spec.bottoms):
            learned.update(spec.tops)
        stated_loss = any(spec.message.loss_weight) and read.isdisjoint(spec.tops)
        reads_gone = not plan.gone.isdisjoint(spec.bottoms)
        if not (spec.row.loss or spec.type in _EVALUATION or stated_loss or reads_gone or not spec.tops):
            continue
        plan.dropped.add(spec.index)
        plan.results[spec.index] = [key for key in _results(spec, learned) if key not in plan.gone]
        # The second top of a SoftmaxWithLoss is the Softmax, which remains.
        plan.gone.update(spec.tops[:1] if spec.type in _REMAINS and not reads_gone else spec.tops)


def _results(spec: LayerSpec, learned: set[BlobKey]) -> list[BlobKey]:
    if spec.type in _RESULTS:
        return [spec.bottoms[index] for index in _RESULTS[spec.type]]
    # Which bottom of a EuclideanLoss, say, is the target differs: what was computed from weights is no target.
    return [key for key in spec.bottoms if key in learned] or list(spec.bottoms[:1])


def _substitute(graph: Graph, plan: _Plan) -> None:
    """Choose the losses of which a Softmax or Sigmoid remains."""
    present = {(spec.type, spec.bottoms[:1]) for spec in graph.layers if spec.index not in plan.dropped}
    losses = []
    for spec in graph.layers:
        if spec.index not in plan.dropped or spec.type not in _REMAINS or not plan.results[spec.index]:
            continue
        wanted = (_REMAINS[spec.type][0], spec.bottoms[:1])
        if plan.gone.isdisjoint(spec.tops[1:]) and (spec.tops[1:] or wanted not in present):
            losses.append(spec)
            present.add(wanted)
    main = max(losses, key=lambda spec: (spec.loss_weights[0], spec.index), default=None)
    taken = set(graph.last)
    for spec in losses:
        name = spec.tops[1].name if spec.tops[1:] else _free(spec, taken, is_main=spec is main)
        plan.remains[spec.index] = _remaining(spec, name)
        plan.results[spec.index] = []


def _free(spec: LayerSpec, taken: set[str], *, is_main: bool) -> str:
    name = "prob" if is_main and "prob" not in taken else f"{spec.name}_prob"
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _remaining(spec: LayerSpec, name: str) -> caffe_pb2.LayerParameter:
    kind, params = _REMAINS[spec.type]
    layer = caffe_pb2.LayerParameter(name=name, type=kind, bottom=[spec.bottoms[0].name], top=[name])
    if spec.message.HasField(params):
        getattr(layer, params).CopyFrom(getattr(spec.message, params))
    return layer


def _keep_needed(graph: Graph, plan: _Plan) -> None:
    """Find what the results, and the outputs that the net has anyway, are made of."""
    made_by_dropped = {key for index in plan.dropped for key in graph.layers[index].tops}
    plan.needed = {key for key in graph.outputs if key not in made_by_dropped}
    plan.needed.update(key for keys in plan.results.values() for key in keys)
    for spec in reversed(graph.layers):
        if spec.index in plan.remains:
            plan.needed.add(spec.bottoms[0])
        elif spec.index not in plan.dropped and not plan.needed.isdisjoint(spec.tops):
            plan.kept.add(spec.index)
            plan.needed.update(spec.bottoms)


def _trimmed(spec: LayerSpec, needed: set[BlobKey]) -> Source:
    """The layer as it is; an Input layer without the tops that only losses and evaluation read."""
    tops = [position for position, key in enumerate(spec.tops) if key in needed]
    if spec.type != "Input" or len(tops) == len(spec.tops):
        return Source(spec.message, spec.position, spec.unknown)
    layer = caffe_pb2.LayerParameter()
    layer.CopyFrom(spec.message)
    del layer.top[:]
    layer.top.extend(spec.tops[position].name for position in tops)
    shapes = spec.message.input_param.shape
    if len(shapes) == len(spec.tops):
        del layer.input_param.shape[:]
        layer.input_param.shape.extend(shapes[position] for position in tops)
    return Source(layer, spec.position, spec.unknown)


def _notes(old: Graph, new: Graph, plan: _Plan) -> list[str]:
    outputs = {key.name for key in new.outputs} - {key.name for key in old.outputs}
    notes = [_note(old.layers[index], plan, outputs) for index in sorted(plan.dropped)]
    idle = [
        f'"{spec.name}" ({spec.type})'
        for spec in old.layers
        if spec.index not in plan.kept and spec.index not in plan.dropped
    ]
    if idle:
        notes.append(f"{', '.join(idle)} dropped out too: nothing else needs what it makes")
    return notes


def _note(spec: LayerSpec, plan: _Plan, outputs: set[str]) -> str:
    layer = plan.remains.get(spec.index)
    if layer is not None:
        return f'{spec.type} "{spec.name}" became {layer.type}: output "{layer.top[0]}", made from "{layer.bottom[0]}"'
    results = [key.name for key in plan.results[spec.index] if key.name in outputs]
    note = f'{spec.type} "{spec.name}" dropped out'
    if results:
        note += f"; what it read is output now: {_listed(results)}"
    if spec.type == "MultiBoxLoss":
        note += " (boxes are not decoded: a training net does not say how DetectionOutput is to choose among them)"
    return note


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
