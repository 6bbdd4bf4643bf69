"""A net as an exported program with its inputs and outputs in order, of the shapes that it was built for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from caffecompat.errors import UnsupportedError
from caffecompat.export.axes import fed
from caffecompat.export.pt2 import check_steps
from caffecompat.graph.spec import BlobKey, LayerSpec
from caffecompat.layers.base import Layer
from caffecompat.layers.data import DataLayer
from caffecompat.layers.scale import PReLU
from caffecompat.net import Env, Net
from caffecompat.net.executor import Executor

# Suppression is a loop whose number of turns hangs on values, which ExecuTorch has not.
_LOOPING = ("DetectionOutput",)


def left_out(net: Net) -> list[LayerSpec]:
    """The layers that a program has not: those that suppress boxes, and what reads their tops."""
    known: set[BlobKey] = set()
    found = []
    for spec in net.graph.layers:
        if spec.type in _LOOPING or not known.isdisjoint(spec.bottoms):
            known.update(spec.tops)
            found.append(spec)
    return found


def program_outputs(net: Net) -> list[BlobKey]:
    """The outputs of a program: the net's, and in the place of layers that it has not what they read."""
    gone = left_out(net)
    missing = {key for spec in gone for key in spec.tops}
    read = {key for spec in gone for key in spec.bottoms}
    inputs = set(net.graph.inputs)
    kept = [key for key in net.graph.outputs if key not in missing]
    return kept + sorted(read - missing - inputs - set(kept))


def trace(net: Net, outputs: Sequence[BlobKey]) -> ExportedProgram:
    """What a net computes in evaluation, from a tensor for each of `fed(net)` to one for each output.

    Args:
        net: the net, its parameters filled, in evaluation.
        outputs: blobs that layers of the program make.

    Raises:
        UnsupportedError: the net cannot be traced, or a recurrent layer has too many time steps.
    """
    check_steps(net)
    example = tuple(torch.zeros(net.blob_shapes[key]) for key in fed(net))
    try:
        with torch.no_grad():
            return torch.export.export(_Program(net, outputs), example, strict=False)
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0]
        raise UnsupportedError(f"torch.export refuses the net: {type(error).__name__}: {reason}") from error


class _Program(nn.Module):
    """The layers of a net that a program has; data layers, which have no values, are no modules of it.

    It is also the hooks of its executor: XNNPACK's PReLU takes pictures only, so each gets one.
    """

    def __init__(self, net: Net, outputs: Sequence[BlobKey]) -> None:
        super().__init__()
        gone = {spec.index for spec in left_out(net)}
        layers = [layer for layer in net.layers if layer.spec.index not in gone]
        self.layers = nn.ModuleList(layer for layer in layers if not isinstance(layer, DataLayer))
        self._executor = Executor(replace(net.graph, layers=tuple(layer.spec for layer in layers)), layers)
        self._inputs = fed(net)
        self._outputs = outputs
        self._shapes = net.blob_shapes

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        env: Env = dict(zip(self._inputs, inputs, strict=True))
        self._executor.run(env, hooks=self, keep=frozenset(self._outputs))
        return tuple(env[key] for key in self._outputs)

    def before(self, index: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        if not isinstance(layer, PReLU) or bottoms[0].dim() in (1, 4):
            return bottoms
        return (bottoms[0].reshape(*bottoms[0].shape[:2], -1, 1),)

    def after(
        self, index: int, layer: Layer, bottoms: tuple[Tensor, ...], tops: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        if isinstance(layer, PReLU) and tops[0].shape != self._shapes[layer.spec.tops[0]]:
            return (tops[0].reshape(self._shapes[layer.spec.tops[0]]),)
        return tops
