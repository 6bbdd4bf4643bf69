"""The lines of `debug_info`: how large data and gradients are, layer by layer.

Source of the rules: Net::ForwardDebugInfo, BackwardDebugInfo, UpdateDebugInfo of Caffe's `net.cpp`. Every number is
the mean of absolute values. Caffe's nets hold Split layers, which these have not: a blob that several layers read has
no lines of its own for them, and each reader's gradient is shown under the blob's name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from caffecompat.layers.base import Layer
from caffecompat.net import Net
from caffecompat.solver.listeners import number

Say = Callable[[str, str], None]


class DebugInfo:
    """While it is entered, every pass of a net says how large the tops and parameters of its layers are.

    Args:
        net: the net.
        say: takes each line and the place that Caffe's log names for it.
        wanted: whether anything is to be said at all.
    """

    def __init__(self, net: Net, say: Say, wanted: bool = True) -> None:
        self._net = net
        self._say = say
        self._wanted = wanted
        self._handles: list[RemovableHandle] = []
        self._diffs: dict[tuple[int, int], float] = {}
        self._before: list[Tensor] = []

    def __enter__(self) -> DebugInfo:
        for index, layer in enumerate(self._net.layers if self._wanted else ()):
            self._handles.append(layer.register_forward_pre_hook(partial(self._watch_bottoms, index)))
            self._handles.append(layer.register_forward_hook(self._forward))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def backward(self) -> None:
        """After the backward pass: say the gradients, the last layer's first."""
        if not self._wanted:
            return
        for index, layer in reversed(list(enumerate(self._net.layers))):
            name = layer.spec.name
            for bottom, key in enumerate(layer.spec.bottoms):
                diff = self._diffs.get((index, bottom))
                if diff is not None:
                    text = f"    [Backward] Layer {name}, bottom blob {key.name} diff: {number(diff)}"
                    self._say(text, "net.cpp:636")
            for place, blob in enumerate(layer.blobs):
                if blob.requires_grad:
                    text = f"    [Backward] Layer {name}, param blob {place} diff: {number(_mean(blob.grad))}"
                    self._say(text, "net.cpp:647")
        self._diffs.clear()
        self._say_norms()

    def before_update(self) -> None:
        """Remember the parameters as they are before the update."""
        self._before = [item.tensor.detach().clone() for item in self._net.learnable] if self._wanted else []

    def after_update(self) -> None:
        """Say each parameter's data before the update, and the update, which is what Caffe's diff holds then."""
        for item, before in zip(self._net.learnable if self._wanted else (), self._before, strict=True):
            update = before - item.tensor.detach()
            self._say(
                f"    [Update] Layer {item.layer.spec.name}, param {_display_name(item.layer, item.index)} "
                f"data: {number(_mean(before))}; diff: {number(_mean(update))}",
                "net.cpp:664",
            )
        self._before.clear()

    def _watch_bottoms(self, index: int, layer: torch.nn.Module, bottoms: tuple[Any, ...]) -> tuple[Any, ...]:
        """Give the layer views of its own, so that the gradient of each is this layer's share alone."""
        return tuple(self._watched((index, place), bottom) for place, bottom in enumerate(bottoms))

    def _watched(self, key: tuple[int, int], bottom: Tensor) -> Tensor:
        if not bottom.requires_grad:
            return bottom
        view = bottom.view_as(bottom)

        def note(diff: Tensor) -> None:
            self._diffs[key] = _mean(diff)

        view.register_hook(note)  # type: ignore[no-untyped-call]
        return view

    def _forward(self, layer: torch.nn.Module, bottoms: tuple[Any, ...], tops: Tensor | tuple[Tensor, ...]) -> None:
        assert isinstance(layer, Layer)
        name = layer.spec.name
        for key, top in zip(layer.spec.tops, (tops,) if isinstance(tops, Tensor) else tops, strict=True):
            text = f"    [Forward] Layer {name}, top blob {key.name} data: {number(_mean(top))}"
            self._say(text, "net.cpp:608")
        for index, blob in enumerate(layer.blobs):
            shown = _display_name(layer, index)
            text = f"    [Forward] Layer {name}, param blob {shown} data: {number(_mean(blob))}"
            self._say(text, "net.cpp:620")

    def _say_norms(self) -> None:
        tensors = [item.tensor for item in self._net.learnable]
        data = [tensor.detach().double() for tensor in tensors]
        diffs = [tensor.grad.double() for tensor in tensors if tensor.grad is not None]
        sums = ", ".join(number(sum(float(blob.abs().sum()) for blob in blobs)) for blobs in (data, diffs))
        norms = ", ".join(
            number(math.sqrt(sum(float(blob.square().sum()) for blob in blobs))) for blobs in (data, diffs)
        )
        text = f"    [Backward] All net params (data, diff): L1 norm = ({sums}); L2 norm = ({norms})"
        self._say(text, "net.cpp:736")


def _mean(blob: Tensor | None) -> float:
    """The mean of absolute values; 0 of a gradient that nothing reached."""
    if blob is None or not blob.numel():
        return 0.0
    return float(blob.detach().abs().sum(dtype=torch.float64)) / blob.numel()


def _display_name(layer: Layer, index: int) -> str:
    """A parameter as Caffe shows it: the name that it is shared by, or else its number."""
    params = layer.spec.message.param
    return (index < len(params) and params[index].name) or str(index)
