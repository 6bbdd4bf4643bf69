"""The means of a net's outputs over many passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from caffecompat.detection.average_precision import AveragePrecisions, mean_of
from caffecompat.net import Net, Outputs

Doubles = npt.NDArray[np.float64]


class Scoring:
    """Adds up what the passes of a net give. (Caffe: `test` in tools/caffe.cpp.).

    Attributes:
        weights: the outputs that are losses, with their weights in the loss.
        uneven: the outputs whose size changed from one pass to another: they have no mean.
        detections: of the outputs that are rows of DetectionEvaluate, what they come to; they have no mean either.
    """

    def __init__(self, net: Net, ap_version: str = "Integral") -> None:
        self._net = net
        self._ap_version = ap_version
        self._count = 0
        self._loss = 0.0
        self._sums: dict[str, Doubles] = {}
        self.weights = net.loss_weights
        self.uneven: list[str] = []
        self.detections = {
            key.name: AveragePrecisions(ap_version)
            for spec in net.graph.layers
            if spec.type == "DetectionEvaluate"
            for key in spec.tops
            if key.name in net.outputs
        }

    def add(self, outputs: Outputs | dict[str, Tensor]) -> dict[str, Doubles]:
        """Take the outputs of one pass; they come back as flat arrays, in Caffe's order, but for detections."""
        for name, found in self.detections.items():
            found.add(outputs[name].detach().float().cpu().numpy())
        values = {name: _flat(outputs[name]) for name in self._net.outputs if name not in self.detections}
        for name, array in values.items():
            known = self._sums.setdefault(name, np.zeros_like(array))
            if name not in self.uneven and known.shape != array.shape:
                self.uneven.append(name)
            if name not in self.uneven:
                known += array
        self._count += 1
        if isinstance(outputs, Outputs):
            self._loss += float(self._net.loss(outputs))
        return values

    @property
    def loss(self) -> float:
        """The mean loss; 0 for a net without any."""
        return self._loss / self._count

    def means(self) -> dict[str, Doubles]:
        """The mean of each value of the outputs."""
        return {name: total / self._count for name, total in self._sums.items() if name not in self.uneven}

    def result(self) -> dict[str, Any]:
        """All of it, as JSON holds it: `iterations`, `loss`, and by name the `outputs` and `detections`."""
        outputs = {
            name: {"mean": mean[0] if len(mean) == 1 else mean, "loss_weight": self.weights.get(name, 0.0)}
            for name, mean in self.means().items()
        }
        result = {"iterations": self._count, "loss": self.loss, "outputs": outputs}
        if self.detections:
            result["detections"] = {
                name: {
                    "ap_version": self._ap_version,
                    "mean_average_precision": mean_of(by_label),
                    "average_precision": by_label,
                }
                for name, found in self.detections.items()
                for by_label in [found.by_label()]
            }
        return result


def _flat(blob: Tensor) -> Doubles:
    return np.asarray(blob.detach().double().cpu().reshape(-1).numpy())
