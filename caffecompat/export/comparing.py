"""Two nets that are to compute the same, compared on random input.

Layers that choose (DetectionOutput, ArgMax, ...) turn a difference of 1e-7 into another choice where two values are
nearly equal, and Softmax makes differences larger, or hides them where one value is far above the others. So what they
read is compared, like outputs, and then both nets go on from the same values.
"""

from __future__ import annotations

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError, quoted
from caffecompat.export.sampling import random_tensors
from caffecompat.layers.base import Layer
from caffecompat.layers.detection import DetectionOutput
from caffecompat.layers.elementwise import ArgMax
from caffecompat.layers.fork_neurons import Sign
from caffecompat.layers.neurons import Threshold
from caffecompat.layers.pooling import Pooling
from caffecompat.layers.proposal import Proposal, PythonProposal
from caffecompat.layers.recurrent import Recurrent
from caffecompat.layers.roi import ROIPooling
from caffecompat.layers.selecting import BatchReindex, Filter
from caffecompat.layers.softmax import Softmax
from caffecompat.net import Net


def chooses(layer: Layer) -> bool:
    """Whether the least difference in what a layer reads may change its tops wholly."""
    if isinstance(layer, Pooling):
        return layer.mask
    return isinstance(layer, (ArgMax, BatchReindex, DetectionOutput, Filter, Proposal, PythonProposal, Sign, Threshold))


def is_sensitive(layer: Layer) -> bool:
    """Whether the least difference in what a layer reads may change its tops much, or a large one little."""
    # Which value a window of ROIPooling holds hangs on its corners.
    return chooses(layer) or isinstance(layer, (ROIPooling, Softmax))


def difference(found: Tensor, wanted: Tensor) -> float:
    """The largest difference as a part of the largest magnitude wanted; infinite for another shape or other nans."""
    if found.shape != wanted.shape:
        return float("inf")
    found, wanted = found.double(), wanted.double()
    odd = ~(found.isfinite() & wanted.isfinite())
    if not torch.allclose(found[odd], wanted[odd], 0.0, 0.0, equal_nan=True):
        return float("inf")
    if odd.all():
        return 0.0
    largest, apart = wanted[~odd].abs().max().item(), (found - wanted)[~odd].abs().max().item()
    return apart / largest if largest else apart


def compare(wanted: Net, found: Net) -> dict[str, float]:
    """The difference of each output of two nets of the same inputs, and of what sensitive layers read, by blob.

    Args:
        wanted: the net that is right, in evaluation.
        found: the other, with the same sensitive layers, in the same order.

    Raises:
        CaffeCompatError: a net cannot compute random values, or does not give finite ones.
    """
    inputs = random_tensors(wanted)
    recorded = _Recorded()
    outputs = _run(wanted, inputs, recorded)
    # Boxes may be infinitely large; what they were made of is compared.
    made = {key for layer in wanted.layers if is_sensitive(layer) for key in layer.spec.tops}
    own = [(key.name, outputs[key.name]) for key in wanted.graph.outputs if key not in made]
    for name, value in [*recorded.read, *own]:
        if not value.isfinite().all():
            raise CaffeCompatError(
                f"the net's blob {quoted(name)} is not finite on random input, so that nothing can be compared",
                hint="are its weights given? Statistics of BatchNorm that a filler made are 0",
            )
    compared = _Compared(recorded)
    results = _run(found, inputs, compared)
    return {**compared.differences, **{name: difference(results[name], outputs[name]) for name in outputs}}


class _Recorded:
    """Hooks that keep what sensitive layers read."""

    def __init__(self) -> None:
        self.read: list[tuple[str, Tensor]] = []

    def before(self, index: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if is_sensitive(layer):
            self.read += [(key.name, bottom) for key, bottom in zip(layer.spec.bottoms, bottoms, strict=True)]
        return bottoms

    def after(
        self, index: int, layer: Layer, bottoms: tuple[Tensor, ...], tops: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        return tops


class _Compared(_Recorded):
    """Hooks that compare what sensitive layers read with what was recorded, and hand them that."""

    def __init__(self, recorded: _Recorded) -> None:
        super().__init__()
        self._expected = iter(recorded.read)
        self.differences: dict[str, float] = {}

    def before(self, index: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not is_sensitive(layer):
            return bottoms
        expected = tuple(next(self._expected)[1] for _ in bottoms)
        for key, bottom, right in zip(layer.spec.bottoms, bottoms, expected, strict=True):
            self.differences[key.name] = max(difference(bottom, right), self.differences.get(key.name, 0.0))
        return expected


def _run(net: Net, inputs: dict[str, Tensor], hooks: _Recorded) -> dict[str, Tensor]:
    env = {key: inputs[key.name] for key in net.graph.inputs}
    with torch.no_grad():
        net.run(env, hooks=hooks, keep=frozenset(net.graph.outputs))
    for layer in net.layers:
        if isinstance(layer, Recurrent):
            layer.forget()
    return {key.name: env[key] for key in net.graph.outputs}
