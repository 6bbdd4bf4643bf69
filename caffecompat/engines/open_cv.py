"""Engine "opencv": the trunk as ONNX in OpenCV's dnn module."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from caffecompat.engines.onnx_models import refusals, trunk_model
from caffecompat.engines.programs import Program, ProgramEngine
from caffecompat.net import Net


class OpenCvEngine(ProgramEngine):
    """The net in OpenCV; each number of images has a program of its own."""

    name = "opencv"
    batches = False

    def build(self, trunk: Net, *, any_batch: bool) -> Program:
        """See `ProgramEngine.build`."""
        model = np.frombuffer(trunk_model(trunk, self.settings).SerializeToString(), np.uint8)
        shapes = {key.name: trunk.blob_shapes[key] for key in trunk.graph.outputs}
        with refusals("OpenCV"):
            net = _read(model)
            inside = dict(zip(_order(net, shapes), shapes, strict=True))
        threads = self.settings.threads

        def program(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            before = cv2.getNumThreads()
            cv2.setNumThreads(threads)
            try:
                with refusals("OpenCV"):
                    for key in trunk.graph.inputs:
                        net.setInput(inputs[key.name].float().contiguous().numpy(), key.name)
                    found = net.forward(list(inside))
            finally:
                cv2.setNumThreads(before)
            # It knows no shapes of one axis.
            return {
                name: torch.from_numpy(np.array(value)).reshape(shapes[name])
                for name, value in zip(inside.values(), found, strict=True)
            }

        return program


def _read(model: np.ndarray[Any, np.dtype[np.uint8]]) -> Any:
    """The net, by the engine that fuses and filters most; OpenCV 4 has but one."""
    classic = getattr(cv2.dnn, "ENGINE_CLASSIC", None)
    return cv2.dnn.readNetFromONNX(model) if classic is None else cv2.dnn.readNetFromONNX(model, classic)


def _order(net: Any, shapes: dict[str, Any]) -> list[str]:
    """What OpenCV calls the outputs, in the order of `shapes`."""
    known = list(net.getUnconnectedOutLayersNames())
    return [name if name in known else next(other for other in known if name in other) for name in shapes]
