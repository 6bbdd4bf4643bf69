"""A net cut into what an engine computes, what is the same in each pass, and what comes behind it.

Prior boxes hang on shapes only: they are computed once. DetectionOutput, and what reads it, runs on tensors of ours,
which is faster than the same written as operators of ONNX, and does what they cannot say (NMS with eta below 1).
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatWarning
from caffecompat.graph.spec import BlobKey, Graph, LayerSpec, Shape
from caffecompat.layers.base import Layer
from caffecompat.net import Env, Net
from caffecompat.net.executor import Executor

# Their tops are the same for all values of their bottoms.
_BY_SHAPE = frozenset(("PriorBox",))
# They compute something else each time, or may.
_CHANGING = frozenset(("Python",))
# What they do is little work, and hard to say elsewhere.
_BEHIND = frozenset(("DetectionOutput",))


@dataclass(frozen=True)
class Parts:
    """A net for inputs of certain shapes, in three parts.

    Attributes:
        trunk: the net that the engine runs, its parameters those of the whole net; None if nothing is left for it.
        constants: the blobs that are the same in each pass, of those that the tail reads or that are outputs.
        tail: what runs behind the trunk, on its outputs, the constants and the inputs.
        outputs: the outputs of the whole.
        inputs: the inputs of the whole.
    """

    trunk: Net | None
    constants: Env
    tail: Executor | None
    outputs: tuple[BlobKey, ...]
    inputs: tuple[BlobKey, ...]

    def finish(self, inputs: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The outputs of the whole by name.

        Args:
            inputs: the inputs of the whole by name.
            found: the outputs of the trunk by name.
        """
        env = {**self.constants, **{key: inputs[key.name] for key in self.inputs}}
        if self.trunk is not None:
            env.update((key, found[key.name]) for key in self.trunk.graph.outputs)
        if self.tail is not None:
            self.tail.run(env)
        return {key.name: env[key] for key in self.outputs}


def cut(net: Net, shapes: Mapping[str, Shape]) -> Parts:
    """Cut a net, in evaluation, for inputs of these shapes; it does not change.

    Raises:
        ShapeError: the net cannot take inputs of these shapes.
    """
    with warnings.catch_warnings():
        # What there is to warn of was said when the net was made.
        warnings.simplefilter("ignore", CaffeCompatWarning)
        return _cut(net, shapes)


def _cut(net: Net, shapes: Mapping[str, Shape]) -> Parts:
    graph = net.graph
    whole = _part(net, graph.layers, graph.outputs, shapes)
    constant = _constant(graph)
    behind = _behind(graph, constant)
    inputs = set(graph.inputs)
    rest = [spec for spec in graph.layers if spec.index not in constant and spec.index not in behind]
    made = {key for spec in rest for key in spec.tops}
    wanted = {key for index in behind for key in graph.layers[index].bottoms}.union(graph.outputs) - inputs
    # Sorted as the outputs of a net are.
    outputs = tuple(sorted(wanted & made))
    rest = _needed(rest, outputs)
    return Parts(
        _part(whole, rest, outputs, shapes) if outputs else None,
        _constants(whole, constant, wanted - made),
        _executor(whole, behind) if behind else None,
        graph.outputs,
        graph.inputs,
    )


def _constant(graph: Graph) -> list[int]:
    """The layers whose tops hang on the shapes of the inputs only, by index."""
    known: set[BlobKey] = set()
    found = []
    for spec in graph.layers:
        follows = bool(spec.bottoms) and known.issuperset(spec.bottoms) and spec.type not in _CHANGING
        if spec.type in _BY_SHAPE or follows:
            known.update(spec.tops)
            found.append(spec.index)
    return found


def _behind(graph: Graph, constant: Collection[int]) -> list[int]:
    """The layers that run behind the trunk, by index."""
    known: set[BlobKey] = set()
    found = []
    for spec in graph.layers:
        if spec.index not in constant and (spec.type in _BEHIND or not known.isdisjoint(spec.bottoms)):
            known.update(spec.tops)
            found.append(spec.index)
    return found


def _needed(specs: Sequence[LayerSpec], outputs: Sequence[BlobKey]) -> list[LayerSpec]:
    """Those layers that outputs come of, and those that feed."""
    wanted = set(outputs)
    found = []
    for spec in reversed(specs):
        if spec.row.data or not wanted.isdisjoint(spec.tops):
            wanted.update(spec.bottoms)
            found.append(spec)
    return found[::-1]


def _part(net: Net, specs: Sequence[LayerSpec], outputs: Sequence[BlobKey], shapes: Mapping[str, Shape]) -> Net:
    """A net of some layers of another one, for inputs of these shapes, with the same parameters."""
    graph = net.graph
    owners = {ref.owner[0] for spec in specs for ref in spec.params if ref.owner is not None}
    wanted = owners.union(spec.index for spec in specs)
    chosen = [spec for spec in graph.layers if spec.index in wanted]
    places = {spec.index: place for place, spec in enumerate(chosen)}
    layers = tuple(_placed(spec, places) for spec in chosen)
    made = {key for spec in layers for key in spec.tops}
    last = {name: key for name, key in graph.last.items() if key in made}
    part = Net(
        replace(
            graph,
            layers=layers,
            inputs=tuple(key for key in graph.inputs if key in made),
            outputs=tuple(outputs),
            last=last,
        ),
        {name: shape for name, shape in shapes.items() if any(key.name == name for key in made)},
    )
    for spec, layer in zip(chosen, part.layers, strict=True):
        for index, blob in enumerate(net.layers[spec.index].blobs):
            if spec.param(index).owner is None:
                _check_fits(layer, index, blob)
                layer.set_blob(index, blob)
    return part.eval()


def _check_fits(layer: Layer, index: int, blob: Tensor) -> None:
    needed = tuple(layer.blobs[index].shape)
    if needed != tuple(blob.shape):
        raise layer.error(
            f"inputs of these shapes ask for a {layer.blob_names[index]} of shape {needed}, it has {tuple(blob.shape)}",
            hint="the net fixes the size of its inputs",
        )


def _placed(spec: LayerSpec, places: Mapping[int, int]) -> LayerSpec:
    params = tuple(
        ref if ref.owner is None else replace(ref, owner=(places[ref.owner[0]], ref.owner[1])) for ref in spec.params
    )
    return replace(spec, index=places[spec.index], params=params)


def _constants(net: Net, indices: Sequence[int], wanted: Collection[BlobKey]) -> Env:
    """The tops of the layers that are constant, of those that are wanted."""
    env: Env = {}
    for index in indices:
        for key in net.graph.layers[index].bottoms:
            if key not in env:
                env[key] = torch.zeros(()).expand(net.blob_shapes[key])
    if indices:
        _executor(net, indices).run(env)
    return {key: value for key, value in env.items() if key in wanted}


def _executor(net: Net, indices: Sequence[int]) -> Executor:
    graph = net.graph
    part = replace(graph, layers=tuple(graph.layers[index] for index in indices))
    return Executor(part, [net.layers[index] for index in indices])
