"""A pass of a net without gradients, with the time that each layer took."""

from __future__ import annotations

from collections.abc import Collection
from time import perf_counter_ns

import torch
from torch import Tensor

from caffecompat.graph import BlobKey, LayerSpec
from caffecompat.layers.base import Layer
from caffecompat.net import Env, Net


class _Clock:
    """The hooks of a pass that reads the clock after each layer."""

    def __init__(self) -> None:
        self.spent: dict[int, int] = {}
        self._last = perf_counter_ns()

    def before(self, index: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return bottoms

    def after(
        self, index: int, layer: Layer, bottoms: tuple[Tensor, ...], tops: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        now = perf_counter_ns()
        self.spent[index], self._last = now - self._last, now
        return tops


def run(net: Net, env: Env, end: int, keep: Collection[BlobKey]) -> dict[int, int]:
    """Run the layers before `end`; nanoseconds by layer.

    Args:
        net: the net.
        env: the inputs; it takes the blobs of `keep`.
        end: index after the last layer.
        keep: the blobs that are asked for.

    Raises:
        CaffeCompatError: a layer refuses its bottoms.
    """
    clock = _Clock()
    with torch.inference_mode():
        net.run(env, end=end, hooks=clock, keep=keep)
    return clock.spent


def images_of(net: Net, spec: LayerSpec) -> int:
    """How many images a layer sees: the first size of its first bottom."""
    return net.blob_shapes[spec.bottoms[0]][0] if spec.bottoms and net.blob_shapes[spec.bottoms[0]] else 1
