"""Nets from what the command line says: train, test and deploy prototxts alike, without their databases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import click
from click.core import ParameterSource

from caffecompat.cli.errors import tell
from caffecompat.cli.options import named_shapes
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import GraphError, WeightsError, quoted
from caffecompat.formats import ParsedNet, read_net, read_weights
from caffecompat.formats.weights import Weights
from caffecompat.graph import build_graph
from caffecompat.graph.passes import data_to_inputs, drop_train_only
from caffecompat.graph.spec import BlobKey, Dialect, Graph, LayerSpec, Phase, Shape
from caffecompat.layers import build
from caffecompat.layers.data import DataLayer
from caffecompat.net import Net
from caffecompat.net.meanings import state_meanings

GivenShapes = Sequence[tuple[str, tuple[int, ...]]]

# What feeds a net that says nothing of where its values come from, and the layers by which a net prepares them itself.
_FED = frozenset(("Input", "DummyData", "MemoryData"))
_PREPARING = frozenset(("BN", "BatchNorm", "Bias", "MVN", "Power", "Scale"))


@dataclass
class Opened:
    """A net that is fed by its caller, and what had to be done for it.

    Attributes:
        net: the net, in `.eval()`.
        preprocessing: what turns a picture into its input; read before data layers were replaced.
        notes: what was substituted, and whose parameters are not the weight file's, in sentences.
        guessed: nothing says how pixels become values; see `is_guessed`.
    """

    net: Net
    preprocessing: Preprocessing
    notes: list[str] = field(default_factory=list)
    guessed: bool = False


def open_net(
    prototxt: Path, weights: Path | None, shapes: GivenShapes, rules: Mapping[str, Any], preparing: Mapping[str, Any]
) -> Opened:
    """A net ready to be exported: data layers are inputs, losses and evaluation are gone.

    Args:
        prototxt: a train, test, train_val or deploy prototxt.
        weights: its weights; None leaves the parameters to the fillers.
        shapes: the values of `--input-shape`.
        rules: phase, level, stages, dialect and ignore_fields.
        preparing: mean, scale, channels and labels, as `Preprocessing.from_graph` takes them.

    Raises:
        CaffeCompatError: a file cannot be read, the layers make no net, or the weights do not fit.
    """
    whole, notes = read_graph(prototxt, **rules)
    source = read_weights(weights) if weights is not None else None
    state_meanings(whole, [source] if source is not None else [])
    graph, dropped = drop_train_only(whole)
    given = named_shapes(shapes, [key.name for key in graph.inputs])
    graph, replaced = _fed_by_caller(graph, given, _channels(graph, source))
    net = Net(graph)
    built = {key.name: net.blob_shapes[key] for key in net.graph.inputs}
    record = Preprocessing.from_graph(whole, base_dir=prototxt.parent, input_shapes=built, **preparing)
    notes = [*notes, *dropped, *replaced, *take_weights(net, source)]
    return Opened(net.eval(), record, notes, is_guessed(whole, record, preparing))


def is_guessed(graph: Graph, record: Preprocessing, preparing: Mapping[str, Any]) -> bool:
    """Whether nothing says how pixels become the values of a net's input, so that they go in as they are.

    A data layer that reads pictures says it, also where it subtracts nothing; and what a net normalizes before all else
    needs neither mean nor scale.

    Args:
        graph: the net, before data layers were replaced.
        record: its preprocessing.
        preparing: mean and scale, as far as they are given.
    """
    if record.channels == "none" or preparing.get("mean") is not None or preparing.get("scale") is not None:
        return False
    sources = [spec for spec in graph.layers if spec.row.data and any(key.name == record.input for key in spec.tops)]
    if any(spec.type not in _FED or spec.message.HasField("transform_param") for spec in sources):
        return False
    keys = {key for key in graph.inputs if key.name == record.input}
    readers = [spec.type for spec in graph.layers if not keys.isdisjoint(spec.bottoms)]
    return not readers or not _PREPARING.issuperset(readers)


def tell_guess() -> None:
    """Say on stderr that pixels go into a net as they are, for nothing says otherwise; and how to say it."""
    tell(
        "the prototxt states neither mean nor scale: pixels are taken as they are, 0 to 255; "
        "say --mean and --scale if the net was trained otherwise"
    )


def read_graph(
    prototxt: Path, phase: str, level: int, stages: Sequence[str], dialect: str, ignore_fields: Sequence[str]
) -> tuple[Graph, list[str]]:
    """The graph of a prototxt, and a note if its phase is not the one that commands assume.

    The training prototxts of SSD have a data layer for TRAIN only: without `--phase` they are taken in that phase.

    Raises:
        CaffeCompatError: the file cannot be read, or its layers make no net.
    """
    parsed = read_net(prototxt)

    def built(phase: str) -> Graph:
        return build_rules(parsed, phase, level, stages, dialect, ignore_fields)

    try:
        return built(phase), []
    except GraphError:
        if click.get_current_context().get_parameter_source("phase") is not ParameterSource.DEFAULT:
            raise
        try:
            graph = built("TRAIN")
        except GraphError:
            graph = None
        if graph is None:
            raise
        return graph, ["its layers make a net in phase TRAIN only: that phase was taken"]


def build_rules(
    parsed: ParsedNet,
    phase: str,
    level: int,
    stages: Sequence[str],
    dialect: str,
    ignore_fields: Sequence[str],
    root: Path | None = None,
) -> Graph:
    """The graph of a net by the values of `net_options`, and of `--root` where a command has it.

    Raises:
        CaffeCompatError: its layers make no net.
    """
    return build_graph(
        parsed,
        cast(Phase, phase),
        level=level,
        stages=stages,
        dialect=cast(Dialect, dialect),
        ignore_fields=ignore_fields,
        root=root,
    )


def take_weights(net: Net, weights: Weights | None) -> list[str]:
    """Give the net its parameters; a note where they are not the file's, and where the file's were not wanted."""
    assigned = net.copy_from(weights) if weights is not None else None
    net.fill()
    if weights is None or assigned is None:
        return ["no weights: the parameters came from the net's fillers"]
    unused = assigned.unused
    if net.filled and unused and not assigned.matched:
        raise WeightsError(
            f"expected weights of the net's layers, such as {quoted(net.filled[0])}; "
            f"got those of other layers only, such as {quoted(unused[0])}",
            file=weights.file,
            hint="are they of another net? Layers are matched by name",
        )
    notes = [f"not in {weights.file}, left to their fillers: {', '.join(net.filled)}"] if net.filled else []
    return notes + ([f"in {weights.file}, but not in the net: {', '.join(unused)}"] if unused else [])


def _channels(graph: Graph, weights: Weights | None) -> dict[str, int]:
    """The channels of inputs, as many as convolutions that read them have weights for."""
    blobs = {layer.name: layer.blobs for layer in weights.layers if layer.blobs} if weights is not None else {}
    found = {}
    for key in graph.inputs:
        alike = {key}
        for spec in graph.layers:
            if alike.isdisjoint(spec.bottoms):
                continue
            if spec.type in _PREPARING:
                alike.update(spec.tops)
            elif spec.type == "Convolution" and spec.name in blobs and blobs[spec.name][0].array.ndim > 1:
                found[key.name] = blobs[spec.name][0].array.shape[1] * spec.message.convolution_param.group
    return found


def _fed_by_caller(graph: Graph, given: Mapping[str, Shape], channels: Mapping[str, int]) -> tuple[Graph, list[str]]:
    """The graph with Input layers in the place of data layers, and a note for each."""
    read = {key for spec in graph.layers for key in spec.bottoms}
    shapes: dict[str, Shape] = dict(given)
    notes = []
    for spec in graph.layers:
        if not spec.row.data or spec.type == "DummyData":
            continue
        tops = [key for key in spec.tops if key in read]
        found = _input_shapes(spec, tops, given, channels)
        if spec.type == "Input":
            continue
        shapes.update(found)
        inputs = ", ".join(f'"{name}" of shape {"x".join(map(str, shape))}' for name, shape in found.items())
        gone = ", ".join(f'"{key.name}"' for key in spec.tops if key not in read)
        done = f"became input {inputs}" if inputs else "dropped out"
        notes.append(f'data layer "{spec.name}" ({spec.type}) {done}' + (f"; {gone} is not read" if gone else ""))
    return data_to_inputs(graph, shapes), notes


def _input_shapes(
    spec: LayerSpec, tops: Sequence[BlobKey], given: Mapping[str, Shape], channels: Mapping[str, int]
) -> dict[str, Shape]:
    """The shapes of those tops of a data layer that are read: given, or stated by the prototxt, for one image."""
    layer = build(spec, ())
    assert isinstance(layer, DataLayer)
    unread = {key.name: (1,) for key in spec.tops if key not in tops}
    shapes = layer.shapes_given({**unread, **given}, channels)
    return {
        key.name: shape if key.name in given else (1, *shape[1:])
        for key, shape in zip(spec.tops, shapes, strict=True)
        if key in tops
    }
