"""What is drawn: a net with what is known of its blobs, and what they hold for a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from caffecompat.cli.draw.blobs import BlobPicture, Gallery
from caffecompat.cli.errors import tell
from caffecompat.cli.opening import GivenShapes, read_graph
from caffecompat.cli.options import named_shapes
from caffecompat.cli.predict import _classify, _detect, _session
from caffecompat.cli.report.names import stated_labels
from caffecompat.data.images import Image, read_image
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.detection.drawing import DrawnBox
from caffecompat.errors import ShapeError, UnsupportedError, UsageError, quoted
from caffecompat.graph.analysis import LayerCost, analyse
from caffecompat.graph.spec import BlobKey, Graph, Shape
from caffecompat.layers.base import Layer
from caffecompat.net import Net

TOP = 5
# The least score of the boxes that are drawn.
THRESHOLD = 0.5


@dataclass(frozen=True)
class Parameter:
    """One of a layer's parameters.

    Attributes:
        name: what it is called in PyTorch.
        shape: its shape.
        lr_mult: multiplies the learning rate.
        owner: the name of the layer that owns it, or "" if it is this one's.
    """

    name: str
    shape: Shape
    lr_mult: float
    owner: str = ""


@dataclass
class Passed:
    """What a pass of a picture gave.

    Attributes:
        name: the picture's file.
        picture: uint8 (height, width, 3) B, G, R.
        blobs: what blobs hold, each as it was when its layer had run.
        best: rows of the classes of the highest scores: rank, class, name, score.
        boxes: what was found in the picture, in its pixels.
    """

    name: str
    picture: Image
    blobs: Mapping[BlobKey, BlobPicture]
    best: Sequence[Mapping[str, Any]] = ()
    boxes: Sequence[DrawnBox] = ()


@dataclass
class Subject:
    """A net as it is to be drawn.

    Attributes:
        graph: the net.
        shapes: the shapes of its blobs; empty if they are not known.
        costs: what each layer costs and sees; empty if the shapes are not known.
        parameters: those of each layer; empty if the shapes are not known.
        net: the net built, or None.
        passed: what a picture gave, or None.
    """

    graph: Graph
    shapes: Mapping[BlobKey, Shape] = field(default_factory=dict)
    costs: Sequence[LayerCost] = ()
    parameters: Sequence[Sequence[Parameter]] = ()
    net: Net | None = None
    passed: Passed | None = None


def read_subject(prototxt: Path, input_shapes: GivenShapes, rules: Mapping[str, Any]) -> Subject:
    """A net; where its shapes cannot be known they are left out, and this is told.

    Raises:
        CaffeCompatError: the file cannot be read, or its layers make no net.
    """
    graph, notes = read_graph(prototxt, **rules)
    for note in notes:
        tell(note)
    shapes = named_shapes(input_shapes, [key.name for key in graph.inputs])
    try:
        return of_net(Net(graph, shapes))
    except (ShapeError, UnsupportedError) as error:
        tell(f"drawn without shapes: {error}")
        return Subject(graph)


def of_net(net: Net) -> Subject:
    """A net that is built."""
    parameters = [
        [
            Parameter(name, tuple(blob.shape), layer.spec.param(index).lr_mult, _owner(layer, index))
            for index, (name, blob) in enumerate(zip(layer.blob_names, layer.blobs, strict=True))
        ]
        for layer in net.layers
    ]
    costs = analyse(net.graph, net.blob_shapes, [[one.shape for one in own] for own in parameters])
    return Subject(net.graph, net.blob_shapes, costs, parameters, net)


def _owner(layer: Layer, index: int) -> str:
    owner, _ = layer.owner_of(index)
    return owner.spec.name if owner is not layer else ""


def preprocessing_of(
    subject: Subject, prototxt: Path, preparing: Mapping[str, Any], size: tuple[int, int] | None
) -> Preprocessing:
    """How a picture comes to lie in the net's input.

    Raises:
        CaffeCompatError: a file cannot be read, or the parts do not fit.
    """
    built = {key.name: subject.shapes[key] for key in subject.graph.inputs if key in subject.shapes}
    return Preprocessing.from_graph(subject.graph, base_dir=prototxt.parent, input_shapes=built, size=size, **preparing)


def pass_picture(
    prototxt: Path,
    weights: Path | None,
    image: Path,
    input_shapes: GivenShapes,
    size: tuple[int, int] | None,
    random_weights: bool,
    preparing: Mapping[str, Any],
    rules: Mapping[str, Any],
) -> Subject:
    """A net with what its blobs hold for a picture; losses and evaluation drop out, data layers become inputs.

    Raises:
        CaffeCompatError: a file cannot be read, or the net cannot run on a picture.
    """
    picture = read_image(image)
    session = _session.open_session(
        prototxt,
        weights,
        random_weights=random_weights,
        device="cpu",
        input_shapes=input_shapes,
        size=size,
        resize=None,
        interpolation=None,
        **preparing,
        **rules,
    )
    if not session.preprocessing.labels:
        named = replace(session.preprocessing, labels=stated_labels(session.net.graph))
        session = replace(session, preprocessing=named)
    subject = of_net(session.net)
    gallery = Gallery()
    _run(session, picture, gallery)
    subject.passed = Passed(str(image), picture, gallery.blobs)
    _results(session, picture, subject.passed)
    return subject


def _run(session: _session.Session, picture: Image, gallery: Gallery) -> None:
    """Pass a picture, and let the gallery see each blob when it has its values."""
    net = session.net
    values = torch.from_numpy(session.preprocessing.apply([picture]))
    env = {key: values for key in net.graph.inputs if key.name == session.preprocessing.input}
    for spec in net.graph.layers:
        if spec.type == "Input" and not all(key in env for key in spec.tops):
            missing = next(key for key in spec.tops if key not in env)
            raise spec.error(
                f"input {quoted(missing.name)} is no picture, and is not given",
                hint="draw without --image, or save blobs with `caffecompat run`",
                kind=UsageError,
            )
    for key, blob in env.items():
        gallery.add(key, blob)
    with torch.inference_mode():
        net.run(env, hooks=_Watch(gallery), keep=frozenset())


class _Watch:
    """Shows a gallery what each layer gives."""

    def __init__(self, gallery: Gallery) -> None:
        self._gallery = gallery

    def before(self, index: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The bottoms as they are."""
        return bottoms

    def after(
        self, index: int, layer: Layer, bottoms: tuple[Tensor, ...], tops: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """The tops as they are, when they were seen."""
        for key, blob in zip(layer.spec.tops, tops, strict=True):
            self._gallery.add(key, blob)
        return tops


def _results(session: _session.Session, picture: Image, passed: Passed) -> None:
    """The best classes, or the boxes found, where the net gives such."""
    types = {spec.type for spec in session.net.graph.layers}
    if "DetectionOutput" in types:
        blob = _detect.detection_blob(session)
        passed.boxes = _detect.detect(session, [picture], blob, THRESHOLD)[0]
        return
    try:
        blob = _classify.scores_blob(session, None)
    except UsageError:
        return
    if len(session.net.blob_shapes[session.net.graph.last[blob]]) == 2:
        scores = _classify.classify(session, [picture], blob, oversample=False)
        passed.best = list(_classify.best(scores[0], TOP, session.preprocessing.labels))
