"""What a solver updates, in Caffe's order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from caffecompat.layers.base import Layer


@dataclass(frozen=True)
class Learnable:
    """A parameter that a solver keeps a slot for: one per owner, in Caffe's order, lr_mult 0 included.

    Attributes:
        layer: the layer that owns it.
        index: which of the layer's blobs it is.
        lr_mult: multiplies the learning rate.
        decay_mult: multiplies the weight decay.
    """

    layer: Layer
    index: int
    lr_mult: float
    decay_mult: float

    @property
    def tensor(self) -> Tensor:
        """Its values: a Parameter, or the buffer of a statistic."""
        return self.layer.blobs[self.index]


def learnable(layers: Iterable[Layer]) -> list[Learnable]:
    """The parameters of layers in the order of Caffe's snapshots: owners only, BatchNorm's statistics included."""
    found = []
    for layer in layers:
        for index in range(len(layer.blob_names)):
            ref = layer.spec.param(index)
            if ref.owner is None:
                # Caffe's BatchNorm sets the rates of its statistics to 0, whatever the prototxt leaves out.
                learned = isinstance(layer.blobs[index], nn.Parameter)
                found.append(Learnable(layer, index, ref.lr_mult if learned else 0.0, ref.decay_mult))
    return found
