"""Net, with the methods of OpenCV's `cv2.dnn.Net`, over a net of ours."""

# ruff: noqa: N802, N803 (methods and arguments have OpenCV's names, for scripts call them by keyword)

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from math import prod
from typing import overload

import cv2
import numpy as np
import torch
from torch import Tensor

from caffecompat.cv2dnn import _costs as costs
from caffecompat.cv2dnn._blobs import blob_in, blob_out
from caffecompat.cv2dnn._costs import InputShapes, LayerShapes
from caffecompat.cv2dnn._errors import cv2_errors
from caffecompat.cv2dnn._importer import INPUT_NAME, INPUT_TYPE, Imported
from caffecompat.cv2dnn._layer import Layer
from caffecompat.cv2dnn._nets import Array, Nets
from caffecompat.cv2dnn._passes import images_of, run
from caffecompat.errors import UsageError, did_you_mean, quoted
from caffecompat.formats import atomic_write
from caffecompat.graph import BlobKey, LayerSpec, Shape

LayerId = int | str
Names = list[str] | tuple[str, ...]


def _strings(names: object) -> list[str]:
    if not isinstance(names, Iterable) or isinstance(names, str):
        raise UsageError(f"expected a list of names, got {quoted(names)}")
    listed = list(names)
    if not all(isinstance(name, str) for name in listed):
        raise UsageError(f"expected names, got {quoted(listed)}")
    return listed


class Net:
    """A net as `readNetFromCaffe` returns it; layers are asked for by id or name, blobs are float32 arrays.

    Every error is a `CaffeCompatError` and a `cv2.error`.

    Args:
        nets: what was read; None makes OpenCV's empty net.
    """

    def __init__(self, nets: Nets | None = None) -> None:
        self._loaded = nets
        self._inputs: dict[str, Tensor] = {}
        self._shapes: dict[str, Shape] = {}
        self._input_names = {} if nets is None else {key.name: key.name for key in nets.imported.graph.inputs}
        self._spent: dict[int, int] = {}

    @property
    def _nets(self) -> Nets:
        if self._loaded is None:
            raise UsageError("the net is empty", hint="readNetFromCaffe(prototxt, caffemodel) makes one with layers")
        return self._loaded

    @property
    def _imported(self) -> Imported:
        return self._nets.imported

    def empty(self) -> bool:
        """Whether it has no layers."""
        return self._loaded is None

    # --- running

    @cv2_errors()
    def setInput(
        self, blob: Array, name: str = "", scalefactor: float = 1.0, mean: float | Sequence[float] = ()
    ) -> None:
        """Give an input for the passes to come, copied, as (blob - mean) * scalefactor.

        Args:
            blob: an array of any real type and any shape; the net is reshaped for it in the next pass. One axis of
                as many values as the prototxt states has that shape: `im_info` of Faster R-CNN is set so.
            name: the blob's name; "" means the first input.
            scalefactor: multiplies it.
            mean: one value for each of at most four channels (axis 1).

        Raises:
            UsageError: the net has no such input, or it is no array of real numbers.
        """
        top, value = self._input(name), blob_in(blob, scalefactor, mean)
        stated = self._imported.stated.get(top, value.shape)
        self._inputs[top] = value.reshape(stated) if value.ndim == 1 and value.numel() == prod(stated) else value

    @cv2_errors()
    def setInputShape(self, inputName: str, shape: Sequence[int]) -> None:
        """State the shape of an input that is not set yet."""
        self._shapes[self._input(inputName)] = costs.as_shape(shape)

    @cv2_errors()
    def setInputsNames(self, inputBlobNames: Sequence[str]) -> None:
        """Give the inputs other names, in their order.

        Raises:
            UsageError: there are fewer inputs.
        """
        names = [key.name for key in self._imported.graph.inputs]
        given = _strings(inputBlobNames)
        if len(given) > len(names):
            raise UsageError(f"the net has {len(names)} inputs, got {len(given)} names")
        self._input_names = dict(zip(given, names, strict=False))

    def _input(self, name: str) -> str:
        if not name and self._imported.graph.inputs:
            return self._imported.graph.inputs[0].name
        if name not in self._input_names:
            known = ", ".join(self._input_names) or "none"
            raise UsageError(
                f"the net has no input {quoted(name)}; its inputs are {known}",
                hint=did_you_mean(name, self._input_names),
            )
        return self._input_names[name]

    @overload
    def forward(self, outputName: str = "") -> Array: ...

    @overload
    def forward(self, outputName: Names) -> tuple[Array, ...]: ...

    @overload
    def forward(self, *, outBlobNames: Names) -> tuple[Array, ...]: ...

    @cv2_errors()
    def forward(self, outputName: str | Names = "", *, outBlobNames: Names | None = None) -> Array | tuple[Array, ...]:
        """Run the net up to a layer, or to the last of several.

        Args:
            outputName: a layer's name; "" means the last layer. Or a list of names.
            outBlobNames: a list of names.

        Returns:
            The layer's first top, a new array of at least two axes; for a list, a tuple of them.

        Raises:
            UsageError: there is no such layer, or an input that it needs was not set.
            CaffeCompatError: the weights or the inputs do not fit the net.
        """
        names = (outputName or "") if outBlobNames is None else outBlobNames
        if isinstance(names, str):
            return self._run([names])[0][0]
        return tuple(tops[0] for tops in self._run(_strings(names) or [""]))

    @cv2_errors()
    def forwardAndRetrieve(self, outBlobNames: Sequence[str]) -> tuple[tuple[Array, ...], ...]:
        """As `forward` for a list, with all tops of each layer."""
        return self._run(_strings(outBlobNames))

    def _run(self, names: list[str]) -> tuple[tuple[Array, ...], ...]:
        layers = [self._giving(name) for name in names]
        end = 1 + max(spec.index for spec, _ in layers)
        env = self._fed(end)
        net = self._nets.net({**self._shapes, **{name: tuple(value.shape) for name, value in self._inputs.items()}})
        self._spent = run(net, env, end, {key for _, tops in layers for key in tops})
        return tuple(tuple(blob_out(spec, env[key], images_of(net, spec)) for key in tops) for spec, tops in layers)

    def _giving(self, name: str) -> tuple[LayerSpec, tuple[BlobKey, ...]]:
        """The layer of this name, or the last one, and its tops."""
        imported = self._imported
        number = imported.find(name) if name else len(imported.layers)
        tops = imported.layers[number - 1].tops if number else ()
        if not tops:
            raise UsageError(f"layer {quoted(name or INPUT_NAME)} gives no blob that a pass could return")
        return imported.layers[number - 1].spec, tops

    def _fed(self, end: int) -> dict[BlobKey, Tensor]:
        """The inputs by blob; what was not set and no layer before `end` reads is empty.

        Raises:
            UsageError: an input that is needed was not set.
        """
        layers = self._imported.graph.layers
        read = {key for spec in layers[:end] for key in spec.bottoms}
        env = {}
        for spec in layers:
            for key in spec.tops if spec.row.data and spec.type != "DummyData" else ():
                if key.name not in self._inputs and key in read:
                    raise UsageError(f"input {quoted(key.name)} was not set", hint=f'setInput(blob, "{key.name}")')
                env[key] = self._inputs.get(key.name, torch.empty(0))
        return env

    @cv2_errors()
    def getPerfProfile(self) -> tuple[int, Array]:
        """Ticks (`cv2.getTickFrequency()` a second) of the last pass, and of each layer in it: float64 (layers,)."""
        tick = cv2.getTickFrequency() / 1e9
        timings = [self._spent.get(layer.spec.index, 0) * tick for layer in self._imported.layers]
        return round(sum(self._spent.values()) * tick), np.array(timings, dtype=np.float64)

    # --- layers

    @cv2_errors()
    def getLayerNames(self) -> tuple[str, ...]:
        """The names of the layers of id 1, of id 2, and so on."""
        return () if self._loaded is None else tuple(layer.name for layer in self._imported.layers)

    @cv2_errors()
    def getLayerId(self, layer: str) -> int:
        """The id of a layer; -1 if there is none of this name, 0 for `_input`."""
        return self._imported.ids.get(layer, -1)

    @cv2_errors()
    def getLayer(self, layerId: LayerId) -> Layer:
        """A layer by id or name, whose `blobs` can be read and set.

        Raises:
            UsageError: there is none.
        """
        number = self._imported.find(layerId)
        return Layer(self._imported.layers[number - 1] if number else None, self._nets, list(self._input_names))

    @cv2_errors()
    def getLayerTypes(self) -> tuple[str, ...]:
        """The types of its layers, alphabetical."""
        return tuple(sorted(set(self._types())))

    @cv2_errors()
    def getLayersCount(self, layerType: str) -> int:
        """How many layers of a type it has."""
        return self._types().count(layerType)

    def _types(self) -> list[str]:
        return [INPUT_TYPE, *(layer.type for layer in self._imported.layers)]

    @cv2_errors()
    def getUnconnectedOutLayers(self) -> Array:
        """Ids of the layers that nobody reads, int32 (n,)."""
        return np.array(self._imported.unconnected(), dtype=np.int32)

    @cv2_errors()
    def getUnconnectedOutLayersNames(self) -> tuple[str, ...]:
        """Names of the layers that nobody reads: what `forward` takes to return all outputs."""
        return tuple(self._imported.layers[number - 1].name for number in self._imported.unconnected())

    @cv2_errors()
    def getParam(self, layer: LayerId, numParam: int = 0) -> Array:
        """A copy of a layer's blob `numParam`.

        Raises:
            UsageError: there is no such layer or blob.
        """
        return self._blobs(layer, numParam)[numParam]

    @cv2_errors()
    def setParam(self, layer: LayerId, numParam: int, blob: Array) -> None:
        """Set a layer's blob `numParam`.

        Raises:
            UsageError: there is no such layer or blob, or it is no array of real numbers.
        """
        blobs = self._blobs(layer, numParam)
        blobs[numParam] = blob
        self.getLayer(layer).blobs = blobs

    def _blobs(self, layer: LayerId, index: int) -> list[Array]:
        found = self.getLayer(layer)
        blobs = found.blobs
        if not isinstance(index, (int, np.integer)) or not 0 <= index < len(blobs):
            raise UsageError(f"layer {quoted(found.name)} has {len(blobs)} blobs, there is no blob {quoted(index)}")
        return blobs

    # --- costs

    @cv2_errors()
    def getLayersShapes(self, netInputShapes: InputShapes) -> tuple[Array, LayerShapes, LayerShapes]:
        """Ids of all layers, `_input` included, and for each the shapes of its bottoms and its tops, int32."""
        return costs.layer_shapes(self._imported, self._nets.plan(costs.input_shapes(self._imported, netInputShapes)))

    @cv2_errors()
    def getFLOPS(self, *args: int | InputShapes) -> int:
        """Operations of the net, or with an id before the shapes, of a layer: twice its multiply-adds."""
        layer, shapes = self._layer_and_shapes(args)
        return costs.operations(self._imported, self._nets.plan(shapes), layer)

    @cv2_errors()
    def getMemoryConsumption(self, *args: int | InputShapes) -> tuple[int, int]:
        """Bytes of the weights and of the blobs of the net, or with an id before the shapes, of a layer."""
        layer, shapes = self._layer_and_shapes(args)
        return costs.memory(self._imported, self._nets.plan(shapes), layer)

    def _layer_and_shapes(self, args: tuple[int | InputShapes, ...]) -> tuple[int | None, dict[str, Shape]]:
        *layer, shapes = args if args else (None,)
        if len(layer) > 1 or shapes is None or isinstance(shapes, int):
            raise UsageError("expected the shapes of the inputs, or the id of a layer and those shapes")
        number = self._imported.find(layer[0]) if layer and isinstance(layer[0], int) else None
        return number, costs.input_shapes(self._imported, shapes)

    @cv2_errors()
    def dump(self) -> str:
        """The net in DOT, the language of Graphviz."""
        return costs.drawing(self._imported)

    @cv2_errors()
    def dumpToFile(self, path: str | os.PathLike[str]) -> None:
        """Write `dump()` to a file."""
        with atomic_write(path) as file:
            file.write(self.dump().encode())

    # --- accepted, without effect

    def setPreferableBackend(self, backendId: int) -> None:
        """Accepted: PyTorch computes."""

    def setPreferableTarget(self, targetId: int) -> None:
        """Accepted: the processor computes, in float32."""

    def enableFusion(self, fusion: bool) -> None:
        """Accepted: no layers are fused."""

    def enableWinograd(self, useWinograd: bool) -> None:
        """Accepted: PyTorch chooses how to convolve."""
