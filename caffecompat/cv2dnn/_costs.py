"""What a net costs for inputs of given shapes, and how it looks: shapes, operations, memory, a drawing in DOT."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from math import prod
from typing import cast

import numpy as np

from caffecompat.cv2dnn._importer import INPUT_NAME, Imported
from caffecompat.cv2dnn._nets import Array
from caffecompat.errors import UsageError, quoted
from caffecompat.graph.analysis import analyse
from caffecompat.graph.spec import BlobKey, Shape
from caffecompat.net import Net

FLOAT32 = 4
LayerShapes = tuple[tuple[Array, ...], ...]
InputShapes = Sequence[int] | Sequence[Sequence[int]]


def as_shape(sizes: object) -> Shape:
    """A shape from a list or an array of sizes.

    Raises:
        UsageError: it is something else.
    """
    try:
        return tuple(operator.index(size) for size in cast(Sequence[int], sizes))
    except TypeError:
        raise UsageError(f"expected a shape, got {quoted(sizes)}") from None


def input_shapes(imported: Imported, given: InputShapes) -> dict[str, Shape]:
    """The shapes of the inputs by name, from one shape or a list of them in the order of the inputs.

    Raises:
        UsageError: these are no shapes, or more than there are inputs.
    """
    if not isinstance(given, Iterable):
        raise UsageError(f"expected a shape or a list of shapes, got {quoted(given)}")
    listed = list(given)
    single = all(isinstance(size, (int, np.integer)) for size in listed)
    shapes = [as_shape(shape) for shape in ([listed] if single else listed)]
    names = [key.name for key in imported.graph.inputs]
    if len(shapes) > len(names):
        raise UsageError(f"expected at most {len(names)} shapes, one for each input, got {len(shapes)}")
    return dict(zip(names, shapes, strict=False))


def layer_shapes(imported: Imported, net: Net) -> tuple[Array, LayerShapes, LayerShapes]:
    """The ids of all layers, and for each the shapes of its bottoms and of its tops; `_input` has the inputs twice."""

    def arrays(keys: Iterable[BlobKey]) -> tuple[Array, ...]:
        return tuple(np.array(net.blob_shapes[key], dtype=np.int32) for key in keys)

    inputs = arrays(imported.graph.inputs)
    bottoms = (inputs, *(arrays(layer.spec.bottoms) for layer in imported.layers))
    tops = (inputs, *(arrays(layer.tops) for layer in imported.layers))
    return np.arange(len(tops), dtype=np.int32), bottoms, tops


def operations(imported: Imported, net: Net, layer: int | None = None) -> int:
    """Twice the multiplications and additions of a layer, or of all: those of `caffecompat inspect`."""
    parameters = [[tuple(blob.shape) for blob in module.blobs] for module in net.layers]
    batch = next((net.blob_shapes[key][0] for key in imported.graph.inputs if net.blob_shapes[key]), 1)
    by_index = [2 * batch * cost.multiply_adds for cost in analyse(imported.graph, net.blob_shapes, parameters)]
    return sum(by_index[index] for index in _indices(imported, layer))


def memory(imported: Imported, net: Net, layer: int | None = None) -> tuple[int, int]:
    """Bytes of the weights and bytes of the tops of a layer, or of the whole net, its inputs included."""
    weights = tops = 0
    for index in _indices(imported, layer):
        module = net.layers[index]
        weights += sum(blob.numel() for i, blob in enumerate(module.blobs) if module.spec.param(i).owner is None)
        tops += sum(prod(net.blob_shapes[key]) for key in module.spec.tops)
    return FLOAT32 * weights, FLOAT32 * tops


def _indices(imported: Imported, layer: int | None) -> list[int]:
    """The places in the graph of a layer, of all inputs for id 0, of everything for None."""
    specs = imported.graph.layers
    if layer is None:
        return [spec.index for spec in specs]
    return [imported.layers[layer - 1].spec.index] if layer else [spec.index for spec in specs if spec.row.data]


def drawing(imported: Imported) -> str:
    """The net in DOT, the language of Graphviz."""
    makers = {key: layer.name for layer in imported.layers for key in layer.tops}
    lines = [f"\t{_dot(layer.name)} [label={_dot(layer.name, layer.type)} shape=box]" for layer in imported.layers]
    for layer in imported.layers:
        lines += [f"\t{_dot(makers.get(key, INPUT_NAME))} -> {_dot(layer.name)}" for key in layer.spec.bottoms]
    return "\n".join(["digraph G {", *lines, "}", ""])


def _dot(*lines: str) -> str:
    escaped = [line.replace("\\", "\\\\").replace('"', '\\"') for line in lines]
    return '"' + "\\n".join(escaped) + '"'
