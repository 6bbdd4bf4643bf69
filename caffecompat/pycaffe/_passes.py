"""What pycaffe's nets are made of: the blobs, and the passes over them, layer by layer."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch

from caffecompat import net as core
from caffecompat.blob import Blob, carry_back
from caffecompat.graph.spec import BlobKey
from caffecompat.layers.data import DummyData
from caffecompat.net.precision import gpu_precision
from caffecompat.pycaffe._names import Names
from caffecompat.pycaffe._needs import needs
from caffecompat.pycaffe._python_layer import Layer, layer_of
from caffecompat.pycaffe._state import device
from caffecompat.pycaffe._tape import Tape

Callback = Callable[[int], object]


class Passes(Names):
    """The blobs of a net, and passes forward and backward that begin and end anywhere.

    Args:
        net: the net; its graph has the Split layers.

    Attributes:
        layers: the layers in order, the Split layers among them; of Python layers, the users' objects.
    """

    def __init__(self, net: core.Net) -> None:
        self._net = net
        self._device: torch.device | None = None
        self._blob_names: list[str] = []
        self._blobs: list[Blob] = []
        self._numbers: dict[BlobKey, int] = {}
        graph = net.graph
        for spec in graph.layers:
            for key in spec.tops:
                # A layer in place makes no new blob; losses that the net does not name all have one name.
                in_place = next((bottom for bottom in spec.bottoms if bottom.name == key.name), None)
                if in_place is not None:
                    self._numbers[key] = self._numbers[in_place]
                    continue
                self._numbers[key] = len(self._blobs)
                self._blob_names.append(key.name)
                self._blobs.append(Blob(net.blob_shapes[key]))
        self._blob_of = {key: self._blobs[number] for key, number in self._numbers.items()}
        self._layer_names = [spec.name for spec in graph.layers]
        self.layers: list[Layer] = [layer_of(layer) for layer in net.layers]
        self._need = needs(graph, [len(layer.blob_names) for layer in net.layers])
        self._tape = Tape(net, self._blob_of, [layer.blobs for layer in self.layers], self._need)
        self._tape.keeps = any(need.visited for need in self._need) and (graph.phase == "TRAIN" or graph.force_backward)
        self._fed = [key for spec in graph.layers if spec.type == "Input" for key in spec.tops]
        self._callbacks: dict[str, list[Callback]] = {
            name: [] for name in ("before_forward", "after_forward", "before_backward", "after_backward")
        }
        self._losses = [
            (spec.index, weight, self._blob_of[key])
            for spec in graph.layers
            for key, weight in zip(spec.tops, spec.loss_weights, strict=False)
            if weight
        ]
        self._fill_losses()
        self._fill_constants()
        weakref.finalize(self, net.close)

    def _fill_losses(self) -> None:
        """The diffs of the losses are their weights, from the beginning on."""
        for _, weight, blob in self._losses:
            blob.take_gradient(torch.full(blob.shape, weight))

    def _fill_constants(self) -> None:
        """What DummyData does not draw anew in each pass is there before the first, and stays as the user edits it."""
        for layer in self._net.layers:
            if isinstance(layer, DummyData):
                for index, key in enumerate(layer.spec.tops):
                    if not layer.refill[index]:
                        self._blob_of[key].take(layer.top(index))

    def _forward(self, start: int, end: int) -> float:
        """Run the layers `start` to `end`, both included; the loss that they add up to."""
        self._prepare()
        before, after = self._callbacks["before_forward"], self._callbacks["after_forward"]
        with torch.no_grad(), gpu_precision(device()):
            if not before and not after:
                self._run(start, end + 1)
            else:
                for index in range(start, end + 1):
                    for call in before:
                        call(index)
                    self._run(index, index + 1)
                    for call in after:
                        call(index)
        return self._loss(start, end)

    def _run(self, start: int, end: int) -> None:
        made = set(self._fed)
        env = {key: self._blob_of[key].tensor for key in self._fed}
        for spec in self._net.graph.layers[start:end]:
            for key in spec.bottoms:
                if key not in made:
                    env[key] = self._blob_of[key].tensor
            made.update(spec.tops)
        self._net.run(env, start, end, self._tape)

    def _loss(self, start: int, end: int) -> float:
        made = (weight * float(blob.tensor.sum()) for index, weight, blob in self._losses if start <= index <= end)
        return sum(made, 0.0)

    def _backward(self, start: int, end: int) -> None:
        """Let the layers `start` down to `end`, both included, go backward."""
        self._tape.keeps = any(need.visited for need in self._need)
        self._prepare()
        before, after = self._callbacks["before_backward"], self._callbacks["after_backward"]
        for index in range(start, end - 1, -1):
            for call in before:
                call(index)
            with gpu_precision(device()):
                self._tape.backward(index)
            for call in after:
                call(index)

    def _prepare(self) -> None:
        """Be on the device that is set, with what the user wrote there."""
        now = device()
        if now != self._device:
            self._net.to(now)
            for blob in self._blobs:
                blob.move(now)
            self._device = now
        carry_back()
