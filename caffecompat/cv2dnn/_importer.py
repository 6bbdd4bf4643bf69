"""From Caffe's files, or their bytes, to what OpenCV's importer makes of them: layers with names and ids.

The rules were found by running OpenCV 4's own importer; `tests/reference/cv2dnn` holds its answers.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from caffecompat.errors import FormatError, UnsupportedError, UsageError, context, did_you_mean, quoted
from caffecompat.formats import Weights, parse_net, read_net, read_weights
from caffecompat.formats.caffemodel import parse_caffemodel
from caffecompat.formats.weight_files import HDF5_MAGIC, refuse_others
from caffecompat.graph import BlobKey, Graph, LayerSpec, Shape, build_graph
from caffecompat.net.meanings import state_meanings

INPUT_NAME = "_input"
INPUT_TYPE = "__NetInputLayer__"
Buffer = bytes | bytearray | memoryview | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
Source = str | os.PathLike[str] | Buffer


@dataclass(frozen=True)
class ImportedLayer:
    """A layer as OpenCV counts it.

    Attributes:
        name: its name in OpenCV: that of its top for a Convolution, that of the prototxt for all others; the second
            layer of a name gets `_1`.
        type: its type in OpenCV.
        spec: the layer of the graph.
        tops: the blobs that it gives.
    """

    name: str
    type: str
    spec: LayerSpec
    tops: tuple[BlobKey, ...]


class Imported:
    """A net as OpenCV's importer sees it; id 0 is all inputs together.

    Attributes:
        graph: the net in phase TEST.
        weights: what the weight file holds, or None.
        layers: the layer of id 1, of id 2, and so on.
        ids: id by name; where a Convolution's name in the prototxt is nobody else's, it counts, too (OpenCV before
            4.4 had that name).
        stated: the shapes of inputs that the prototxt states, by blob name.
    """

    def __init__(self, graph: Graph, weights: Weights | None) -> None:
        self.graph = graph
        self.weights = weights
        self.layers = tuple(_layers(graph))
        self.ids = {INPUT_NAME: 0, **{layer.name: number for number, layer in enumerate(self.layers, 1)}}
        for number, layer in enumerate(self.layers, 1):
            self.ids.setdefault(layer.spec.name, number)
        self.stated = dict(_stated(graph))

    def find(self, layer: int | str) -> int:
        """The id of a layer that is given by id or name.

        Raises:
            UsageError: there is none; where it is a blob's name, the error names the layer that makes it.
        """
        if isinstance(layer, str):
            if layer not in self.ids:
                raise UsageError(f"the net has no layer {quoted(layer)}", hint=self._advice(layer))
            return self.ids[layer]
        if not isinstance(layer, (int, np.integer)):
            raise UsageError(f"expected the id or the name of a layer, got {quoted(layer)}")
        number = int(layer)
        if not 0 <= number <= len(self.layers):
            raise UsageError(f"the net has no layer of id {number}; ids are 0 to {len(self.layers)}")
        return number

    def _advice(self, name: str) -> str | None:
        makers = [layer.name for layer in self.layers if any(top.name == name for top in layer.tops)]
        return f'blob "{name}" is made by layer "{makers[-1]}"' if makers else did_you_mean(name, self.ids)

    def unconnected(self) -> list[int]:
        """Ids of the layers none of whose tops is read; those without tops give nothing and are left out."""
        read = {key for spec in self.graph.layers for key in spec.bottoms}
        return [number for number, layer in enumerate(self.layers, 1) if layer.tops and read.isdisjoint(layer.tops)]


def import_net(prototxt: Source, weights: Source | None) -> Imported:
    """Read a net and its weights; what is not `str` or a path is the bytes of a file.

    Raises:
        UsageError: an argument is neither, or there is no prototxt.
        CaffeCompatError: a file cannot be read, the layers make no net.
    """
    if _is_empty(prototxt):
        raise UsageError("expected a prototxt, got nothing", hint="readNetFromCaffe(prototxt, caffemodel)")
    if isinstance(prototxt, (str, os.PathLike)):
        parsed = read_net(prototxt)
    else:
        parsed = parse_net(_bytes(prototxt, "prototxt"), "the prototxt's buffer")
    graph = build_graph(parsed, "TEST")
    source = None if weights is None or _is_empty(weights) else _weights(weights)
    state_meanings(graph, [] if source is None else [source])
    return Imported(graph, source)


def _layers(graph: Graph) -> Iterator[ImportedLayer]:
    """The layers that are no inputs; a Convolution of several bottoms is one layer for each."""
    specs = [spec for spec in graph.layers if not spec.row.data]
    taken = {spec.name for spec in specs if spec.type != "Convolution"}
    seen: dict[str, int] = {}
    for spec in specs:
        type_name = "Convolution" if spec.type == "ConvolutionDepthwise" else spec.type
        if spec.type == "Convolution":
            for top in spec.tops:
                name = _numbered(spec.name, seen) if top.name in taken else top.name
                taken.add(name)
                yield ImportedLayer(name, type_name, spec, (top,))
        else:
            yield ImportedLayer(_numbered(spec.name, seen), type_name, spec, spec.tops)


def _stated(graph: Graph) -> Iterator[tuple[str, Shape]]:
    for spec in graph.layers:
        shapes = spec.message.input_param.shape
        for top, shape in zip(spec.tops, list(shapes) * len(spec.tops) if len(shapes) == 1 else shapes, strict=False):
            yield top.name, tuple(shape.dim)


def _numbered(name: str, seen: dict[str, int]) -> str:
    """`name` the first time, then `name_1`, `name_2`."""
    count = seen.get(name, 0)
    seen[name] = count + 1
    return f"{name}_{count}" if count else name


def _is_empty(source: Source) -> bool:
    return isinstance(source, (str, bytes, bytearray, memoryview, np.ndarray)) and len(source) == 0


def _bytes(source: Buffer, what: str) -> bytes:
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8:
            raise UsageError(f"expected the bytes of a {what} as uint8, got an array of {source.dtype}")
        return source.tobytes()
    if not isinstance(source, (bytes, bytearray, memoryview)):
        raise UsageError(f"expected a path or the bytes of a {what}, got {type(source).__name__}")
    return bytes(source)


def _weights(source: Source) -> Weights:
    if isinstance(source, (str, os.PathLike)):
        return read_weights(source)
    data = _bytes(source, "caffemodel")
    with context(file="the weights' buffer"):
        if data.startswith(HDF5_MAGIC):
            raise UnsupportedError("HDF5 is read from files only", hint="give the path of the .caffemodel.h5")
        refuse_others(data)
        # Memory of our own that PyTorch may write to, as it may to the map of a file.
        memory = mmap.mmap(-1, len(data))
        memory[:] = data
        return parse_caffemodel(memory)


def is_caffe(model: str, config: str, framework: str) -> bool:
    """Whether `readNet` would take these files for Caffe's: by the framework's name, else by how they end."""
    if framework:
        return framework.lower() == "caffe"
    return any(map(is_weights, (model, config))) or any(map(is_prototxt, (model, config)))


def is_weights(path: str) -> bool:
    """Whether a file is called as Caffe's weights are."""
    return path.lower().endswith((".caffemodel", ".caffemodel.h5"))


def is_prototxt(path: str) -> bool:
    """Whether a file is called as Caffe's nets are; some are published as `.prototxt.txt`."""
    return path.lower().endswith((".prototxt", ".prototxt.txt"))


def in_order(model: str, config: str) -> tuple[str, str]:
    """(prototxt, weights) of the two files of `readNet`, which may come in either order.

    Raises:
        FormatError: there are weights, but no prototxt.
    """
    prototxt, weights = (model, config) if is_prototxt(model) or is_weights(config) else (config, model)
    if not prototxt:
        raise FormatError(f"{quoted(weights)} has the weights of a net; its prototxt is missing", hint="give both")
    return prototxt, weights
