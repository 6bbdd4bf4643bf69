"""Data layers become Input layers: the net is fed by its caller instead of a database."""

from __future__ import annotations

from collections.abc import Mapping

from caffecompat.errors import ShapeError, UsageError, did_you_mean, quoted
from caffecompat.graph.builder import relink
from caffecompat.graph.linker import Source
from caffecompat.graph.spec import BlobKey, Graph, LayerSpec, Shape
from caffecompat.schema import caffe_pb2

MAX_SIZE = 2**31 - 1
MAX_LISTED = 10
# These need no database: they stay as they are unless a shape for one of their tops is given.
_SELF_SUFFICIENT = ("Input", "DummyData")


def data_to_inputs(graph: Graph, shapes: Mapping[str, Shape]) -> Graph:
    """Put an Input layer in the place of every data layer.

    A top that no layer reads, such as a label when the losses are gone, disappears, and a data layer of which no
    top is read with it.

    Args:
        graph: the graph.
        shapes: the shape of each top that is read, by name. Input layers of the net take theirs from it too,
            where it names them.

    Raises:
        ShapeError: a top that is read has no shape here, or a shape has a size that no blob can have.
        UsageError: `shapes` names no top of a data layer.
    """
    names = [key.name for key in graph.inputs]
    for name, shape in shapes.items():
        if name not in names:
            hint = did_you_mean(name, names) or f"inputs: {', '.join(map(quoted, names[:MAX_LISTED])) or 'none'}"
            raise UsageError(f"the net has no input {quoted(name)}", hint=hint)
        if any(not 0 <= size <= MAX_SIZE for size in shape):
            raise ShapeError(f"input {quoted(name)} cannot have shape {tuple(shape)}")
    read = {key for spec in graph.layers for key in spec.bottoms}
    sources = []
    for spec in graph.layers:
        source = Source(spec.message, spec.position, spec.unknown)
        if spec.row.data and not (spec.type in _SELF_SUFFICIENT and not any(key.name in shapes for key in spec.tops)):
            tops = [key for key in spec.tops if key in read or spec.type in _SELF_SUFFICIENT]
            if not tops:
                continue
            source = Source(_input(spec, tops, shapes), spec.position)
        sources.append(source)
    return relink(graph, sources)


def _input(spec: LayerSpec, tops: list[BlobKey], shapes: Mapping[str, Shape]) -> caffe_pb2.LayerParameter:
    layer = caffe_pb2.LayerParameter(name=spec.name, type="Input", top=[key.name for key in tops])
    stated = _stated(spec)
    for key in tops:
        shape = shapes.get(key.name, stated.get(key.name))
        if shape is None:
            raise spec.error(
                f"the shape of input {quoted(key.name)} is not known",
                hint=f"state it: {{{quoted(key.name)}: (N, C, H, W)}}, or --input-shape",
                kind=ShapeError,
            )
        layer.input_param.shape.add(dim=shape)
    return layer


def _stated(spec: LayerSpec) -> dict[str, Shape]:
    """The shapes that an Input or DummyData layer states; one stated shape is that of every top."""
    params = spec.message.input_param if spec.type == "Input" else spec.message.dummy_data_param
    shapes = [tuple(shape.dim) for shape in params.shape]
    if len(shapes) == 1:
        shapes *= len(spec.tops)
    return {key.name: shape for key, shape in zip(spec.tops, shapes, strict=False)}
