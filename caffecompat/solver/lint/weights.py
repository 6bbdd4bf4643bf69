"""Rules about weights: those that a run starts from, and those that it has without."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError, quoted
from caffecompat.formats.weights import Weights
from caffecompat.graph.spec import BlobKey
from caffecompat.layers.base import Layer
from caffecompat.net import Net
from caffecompat.net.weights import fitting, targets
from caffecompat.schema import caffe_pb2
from caffecompat.solver.box_causes import is_vgg
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.multibox import VGG

if TYPE_CHECKING:
    from caffecompat.solver.lint.subject import LintedNet, Subject

WEIGHTS_SHAPE = Rule("weights-shape", "error", "Weights of a layer of the same name must have its number and shapes.")
WEIGHTS_UNUSED = Rule("weights-unused", "warning", "Weights of layers that the net lacks are not used.")
WEIGHTS_NONE = Rule("weights-none", "error", "A weight file of which no layer is the net's is of another net.")
LEFT_TO_FILLER = Rule("left-to-filler", "warning", "Layers that no weight file has start from their fillers.")
FROZEN_RANDOM = Rule("frozen-random", "warning", "Random values with lr_mult: 0 stay random.")
ZERO_WEIGHTS = Rule("zero-weights", "warning", "Of two layers in a row whose weights are 0 neither learns.")
NOTHING_LEARNS = Rule("nothing-learns", "warning", "With lr_mult: 0 everywhere nothing is learnt.")
TEST_ONLY = Rule("test-only", "warning", "Parameters of a test net that the train net lacks are never trained.")
TEST_SHAPE = Rule("test-shape", "error", "Layers of one name have the same shapes in train and test nets.")
RULES = (
    WEIGHTS_SHAPE,
    WEIGHTS_UNUSED,
    WEIGHTS_NONE,
    LEFT_TO_FILLER,
    FROZEN_RANDOM,
    ZERO_WEIGHTS,
    NOTHING_LEARNS,
    TEST_ONLY,
    TEST_SHAPE,
)

RANDOM = frozenset(("gaussian", "msra", "positive_unitball", "uniform", "xavier"))
WEIGHED = {
    "Convolution": "convolution_param",
    "ConvolutionDepthwise": "convolution_param",
    "Deconvolution": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "Embed": "embed_param",
    "InnerProduct": "inner_product_param",
}
# What is 0 where the bottom is.
ZERO_AT_ZERO = frozenset(("Dropout", "ELU", "Flatten", "LRN", "PReLU", "Pooling", "ReLU", "Reshape", "TanH"))
MAX_NAMES = 5


def check(subject: Subject) -> Iterator[Finding]:
    """The weights that a run starts from, and those that fillers make."""
    train = subject.train
    main = train if train is not None else next(iter(subject.tests), None)
    if main is not None and main.net is not None:
        yield from _files(subject, main)
    if train is not None and train.net is not None:
        given = {source.name for weights in subject.weights for source in weights.layers if source.blobs}
        own = [layer for layer in train.net.layers if layer.spec.name not in given]
        if subject.solver is not None or subject.weights:
            yield from _frozen(own, bool(subject.weights))
            yield from _zero(train.net, own)
        yield from _learns(subject, train)
        if subject.solver is not None:
            for linted in subject.tests:
                yield from _test_net(train.net, linted)


def _files(subject: Subject, linted: LintedNet) -> Iterator[Finding]:
    """Each weight file against the net, and what no file gives."""
    assert linted.net is not None
    matched: set[str] = set()
    for weights in subject.weights:
        names, unused = set(), []
        for source, layer in targets(linted.net.layers, weights):
            if not source.blobs:
                continue
            if layer is None:
                unused.append(source.name)
                continue
            names.add(source.name)
            try:
                fitting(source, layer, weights.file)
            except CaffeCompatError as error:
                if not linted.guessed:
                    yield WEIGHTS_SHAPE.of(error)
        matched |= names
        if not names:
            text = f"no layer of the net is in it; it has {_some(unused)}"
            yield WEIGHTS_NONE.in_file(weights.file, text)
        elif unused:
            text = f"{len(unused)} layers are not in the net: {_some(unused)}"
            yield WEIGHTS_UNUSED.in_file(weights.file, text)
    new = is_vgg(linted.net)
    for layer in linted.net.layers if matched else ():
        if new and layer.spec.name not in VGG:
            # Of an SSD these are new.
            continue
        own = any(layer.spec.param(index).owner is None for index in range(len(layer.blob_names)))
        if own and layer.spec.name not in matched:
            yield LEFT_TO_FILLER.on(layer.spec, f"{_files_named(subject.weights)} has no weights for it")


def _frozen(layers: Iterable[Layer], started: bool) -> Iterator[Finding]:
    """Random weights that no update changes."""
    for layer in layers:
        filler = _filler(layer)
        if filler is not None and filler.type in RANDOM and layer.spec.param(0).lr_mult == 0:
            text = f"lr_mult is 0, and the weights come from the filler {quoted(filler.type)}: they stay random"
            yield FROZEN_RANDOM.on(layer.spec, text, None if started else "unless --weights gives them")


def _zero(net: Net, layers: Sequence[Layer]) -> Iterator[Finding]:
    """Layers whose weights start at 0, one right behind another such layer: what each gets, or passes back, is 0."""
    readers = Counter(key for layer in net.layers for key in layer.spec.bottoms)
    behind: dict[BlobKey, Layer] = {}
    stuck: dict[str, Layer] = {}
    for layer in layers:
        bottom = layer.spec.bottoms[0] if len(layer.spec.bottoms) == 1 else None
        before = behind.get(bottom) if bottom is not None and readers[bottom] == 1 else None
        zero = _starts_at_zero(layer)
        if zero and before is not None:
            stuck.update({before.spec.name: before, layer.spec.name: layer})
        passed = layer if zero else before if layer.spec.type in ZERO_AT_ZERO else None
        if passed is not None:
            behind.update(dict.fromkeys(layer.spec.tops, passed))
    if stuck:
        text = f"the weights of {_some(list(stuck))} start at 0, one layer behind the other: they never learn"
        first = next(iter(stuck.values()))
        yield ZERO_WEIGHTS.on(first.spec, text, "state weight_fillers, or give --weights")


def _starts_at_zero(layer: Layer) -> bool:
    """Whether its weights and its bias do, and may change."""
    param = WEIGHED.get(layer.spec.type)
    if param is None or layer.spec.param(0).owner is not None or layer.spec.param(0).lr_mult == 0:
        return False
    message = getattr(layer.spec.message, param)
    fillers = (message.weight_filler, message.bias_filler) if len(layer.blob_names) > 1 else (message.weight_filler,)
    return all(filler.type == "constant" and filler.value == 0 for filler in fillers)


def _filler(layer: Layer) -> caffe_pb2.FillerParameter | None:
    """The filler of a layer's weights, if they are its own."""
    param = WEIGHED.get(layer.spec.type)
    if param is None or layer.spec.param(0).owner is not None:
        return None
    filler: caffe_pb2.FillerParameter = getattr(layer.spec.message, param).weight_filler
    return filler


def _learns(subject: Subject, linted: LintedNet) -> Iterator[Finding]:
    assert linted.net is not None
    learnable = linted.net.learnable
    if subject.solver is not None and learnable and not any(item.lr_mult for item in learnable):
        yield NOTHING_LEARNS.at(linted.parsed.position(), "lr_mult is 0 for all parameters: nothing is learnt")


def _test_net(train: Net, test: LintedNet) -> Iterator[Finding]:
    """Parameters of a test net against those of the train net, which it uses."""
    if test.net is None:
        return
    trained = {layer.spec.name: layer for layer in reversed(train.layers)}
    for layer in test.net.layers:
        if not layer.blob_names:
            continue
        other = trained.get(layer.spec.name)
        if other is None:
            yield TEST_ONLY.on(layer.spec, "the train net has no layer of this name: its parameters stay as they start")
            continue
        own, theirs = ([tuple(blob.shape) for blob in each.blobs] for each in (layer, other))
        if own != theirs:
            text = f"its blobs have shapes {own}, those of the train net's layer {theirs}"
            yield TEST_SHAPE.on(layer.spec, text)


def _some(names: list[str]) -> str:
    listed = ", ".join(map(quoted, names[:MAX_NAMES]))
    return listed if len(names) <= MAX_NAMES else f"{listed} and {len(names) - MAX_NAMES} more"


def _files_named(files: list[Weights]) -> str:
    return str(files[0].file) if len(files) == 1 else "no weight file"
