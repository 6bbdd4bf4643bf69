"""What `Net.getLayer` returns."""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.cv2dnn._errors import cv2_errors
from caffecompat.cv2dnn._importer import INPUT_NAME, ImportedLayer
from caffecompat.cv2dnn._nets import Array, Nets


class Layer:
    """A layer of a net: its name, its type and its blobs.

    Setting `blobs` changes the net, whenever it is done. `blobs[0][:] = 1` changes only a copy, as in OpenCV.

    Args:
        layer: the layer; None is `_input`, which has no type and no blobs.
        nets: what holds the weights.
        inputs: the names of the net's inputs.
    """

    def __init__(self, layer: ImportedLayer | None, nets: Nets, inputs: Sequence[str]) -> None:
        self._layer = layer
        self._nets = nets
        self._inputs = list(inputs)
        self.preferableTarget = 0
        self.name = INPUT_NAME if layer is None else layer.name
        self.type = "" if layer is None else layer.type

    @property
    def blobs(self) -> list[Array]:
        """Copies of its weights, float32, in the shapes that OpenCV gives them: (n, 1) for a bias of n values."""
        return [] if self._layer is None else self._nets.blobs(self._layer.spec)

    @blobs.setter
    @cv2_errors()
    def blobs(self, arrays: list[Array]) -> None:
        if self._layer is not None:
            self._nets.set_blobs(self._layer.spec, list(arrays))

    def outputNameToIndex(self, outputName: str) -> int:  # noqa: N802, N803 (OpenCV's names)
        """Which input of the net has this name, or -1, if this is `_input`; of any other layer always 0, as in OpenCV.

        `net.getLayer(0).outputNameToIndex("im_info") != -1` is how scripts know a Faster R-CNN.
        """
        if self._layer is not None:
            return 0
        return self._inputs.index(outputName) if outputName in self._inputs else -1

    def __repr__(self) -> str:
        return f"<caffecompat.cv2dnn.Layer {self.name!r} {self.type}>"
