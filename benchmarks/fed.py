"""A solver's group that feeds its net batches from memory, so that no reading is measured."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from caffecompat.net import Net, Outputs
from caffecompat.solver.group import Group


class Fed(Group):
    """Feeds the net the next batch of those given, its blobs "data" and "label"."""

    def __init__(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        self._batches = batches

    def run(self, net: Net) -> tuple[Tensor, Outputs]:
        data, label = next(self._batches)
        outputs = net(data=data, label=label)
        assert isinstance(outputs, Outputs)
        return net.loss(outputs), outputs
