"""Nets of one set of weights, built for the shapes of the inputs as they come."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from caffecompat.cv2dnn._importer import Imported
from caffecompat.errors import CaffeCompatWarning, UsageError, WeightsError, quoted, shown
from caffecompat.graph.spec import LayerSpec, Shape
from caffecompat.layers.base import Layer
from caffecompat.net import Net

# Nets of as many shapes are kept; each holds little, for the weights are the same memory.
KEPT = 8
Array = npt.NDArray[Any]


class Nets:
    """The weights of an imported net, those that were set later included, and the nets built with them.

    Attributes:
        imported: what was read.
    """

    def __init__(self, imported: Imported) -> None:
        self.imported = imported
        self._graph = imported.graph
        self._weights = imported.weights
        self._given: dict[int, list[Array]] = {}
        self._built: OrderedDict[tuple[tuple[str, Shape], ...], Net] = OrderedDict()

    def blobs(self, spec: LayerSpec) -> list[Array]:
        """Copies of a layer's blobs in the shapes that OpenCV gives them; empty where nothing gives values.

        A blob of one axis has two, (n, 1); of an InnerProduct the weights have two axes and the bias is (1, n).
        """
        if spec.index in self._given:
            return [array.copy() for array in self._given[spec.index]]
        layers = self._weights.layers if self._weights else ()
        found = next((layer for layer in layers if layer.name == spec.name and layer.blobs), None)
        return [] if found is None else _as_opencv(spec, [blob.array for blob in found.blobs])

    def set_blobs(self, spec: LayerSpec, arrays: list[Array]) -> None:
        """Let a layer have these blobs, copied; whether they fit shows in the next pass.

        Raises:
            UsageError: one is no array of real numbers.
        """
        values = [np.asarray(array) for array in arrays]
        for index, value in enumerate(values):
            if value.dtype.kind not in "fiu":
                raise UsageError(f"expected real numbers in blob {index}, got {value.dtype}", layer=spec.name)
        self._given[spec.index] = [np.array(value, dtype=np.float32, order="C") for value in values]
        self._built.clear()

    def net(self, shapes: Mapping[str, Shape]) -> Net:
        """The net for inputs of these shapes, with its weights.

        Raises:
            ShapeError: a layer does not fit its bottoms, or the shape of an input is not known.
            WeightsError: the weights do not fit the net, or no weights were given at all.
        """
        key = tuple(sorted(shapes.items()))
        net = self._built.get(key)
        if net is None:
            net = self._with_weights(self.plan(shapes))
            self._built[key] = net
            if len(self._built) > KEPT:
                self._built.popitem(last=False)
        self._built.move_to_end(key)
        return net

    def plan(self, shapes: Mapping[str, Shape]) -> Net:
        """The net for inputs of these shapes, its parameters without memory.

        Raises:
            ShapeError: a layer does not fit its bottoms, or the shape of an input is not known.
        """
        return Net(self._graph, shapes)

    def _with_weights(self, net: Net) -> Net:
        try:
            if self._weights is not None:
                given = {self._graph.layers[index].name for index in self._given}
                kept = tuple(layer for layer in self._weights.layers if layer.blobs and layer.name not in given)
                net.copy_from(replace(self._weights, layers=kept))
            for index, arrays in self._given.items():
                _give(net.layers[index], arrays)
        except WeightsError as error:
            error.hint = _other_size(net, self.imported.stated) or error.hint
            raise
        self._fill(net)
        return net

    def _fill(self, net: Net) -> None:
        """Fill what no weights were given for, as Caffe does, once for the nets of all shapes."""
        unfilled = [layer for layer in net.layers if layer.unfilled]
        if not unfilled:
            return
        if self._weights is None:
            raise unfilled[0].error(
                "it has no weights",
                hint=f"give the .caffemodel, or set getLayer({unfilled[0].spec.name!r}).blobs",
                kind=WeightsError,
            )
        net.fill()
        names = ", ".join(shown(layer.spec.name) for layer in unfilled)
        warnings.warn(
            f"{self._weights.file or 'the weights'}: nothing for {names}; filled as the prototxt says",
            CaffeCompatWarning,
            stacklevel=2,
        )
        for layer in unfilled:
            self._given[layer.spec.index] = _as_opencv(layer.spec, [blob.detach().numpy() for blob in layer.blobs])


def _as_opencv(spec: LayerSpec, arrays: list[Array]) -> list[Array]:
    outputs = spec.message.inner_product_param.num_output
    if spec.type == "InnerProduct" and outputs and arrays[0].size % outputs == 0:
        arrays = [arrays[0].reshape(outputs, -1), *(array.reshape(1, -1) for array in arrays[1:])]
    return [np.array(array.reshape(-1, 1) if array.ndim < 2 else array, order="C") for array in arrays]


def _other_size(net: Net, stated: Mapping[str, Shape]) -> str | None:
    """What to say where an input is not of the size that the prototxt states; the number of images is free."""
    for key in net.graph.inputs:
        shape = net.blob_shapes[key]
        if shape[1:] != stated.get(key.name, shape)[1:]:
            return f"the prototxt states input {quoted(key.name)} of shape {stated[key.name]}, it was set with {shape}"
    return None


def _give(layer: Layer, arrays: list[Array]) -> None:
    """Give a layer blobs that a user set; axes of size 1 count for nothing, a bias that is missing is 0.

    Raises:
        WeightsError: another number of blobs, or another shape.
    """
    names = layer.blob_names
    if len(arrays) > len(names) or any(name != "bias" for name in names[len(arrays) :]):
        raise layer.error(f"expected {len(names)} blobs, got {len(arrays)}", kind=WeightsError)
    for index, blob in enumerate(layer.blobs):
        shape = tuple(blob.shape)
        array = arrays[index] if index < len(arrays) else np.zeros(shape, dtype=np.float32)
        if _wide(array.shape) != _wide(shape):
            raise layer.error(
                f"expected shape {shape} for blob {index} ({names[index]}), got {array.shape}", kind=WeightsError
            )
        layer.give(index, torch.from_numpy(array.reshape(shape)))


def _wide(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)
