"""Pooling and SPP, by Caffe's rule about the last window: PyTorch's own where it has the same windows at every size."""

from __future__ import annotations

from caffecompat.export.source.convolving import folded
from caffecompat.export.source.item import Argument, Make
from caffecompat.export.source.registry import Site, writes
from caffecompat.layers.pooling import AVE, MAX, SPP, Pooling, Window


def _agrees(window: Window) -> bool:
    """Whether PyTorch takes the same places whatever the size; see `Window.is_plain`."""
    fits = all(2 * pad <= kernel for pad, kernel in zip(window.pad, window.kernel, strict=True))
    filled = all(stride <= kernel for stride, kernel in zip(window.stride, window.kernel, strict=True))
    return fits and (any(window.pad) or filled or not window.ceil)


def _arguments(window: Window) -> tuple[Argument, ...]:
    return (
        Argument(folded(window.kernel)),
        Argument(folded(window.stride), "", "", folded(window.kernel)),
        Argument(folded(window.pad), "padding", "", 0),
        Argument(window.ceil, "ceil_mode", "", False),
    )


def _call(function: str, window: Window) -> str:
    texts = (argument.text() for argument in _arguments(window))
    return f"{function}({{0}}, {', '.join(text for text in texts if text is not None)})"


@writes(Pooling)
def pooling(layer: Pooling, at: Site) -> None:
    window = layer.window
    if layer.method not in (MAX, AVE):
        raise at.error("STOCHASTIC pooling has no form in plain PyTorch here")
    if window is None and not layer.mask:
        word = "max" if layer.method == MAX else "avg"
        module = Make(f"nn.Adaptive{word.capitalize()}Pool2d", (Argument(1),))
        at.function("pool", f"F.adaptive_{word}_pool2d({{0}}, 1)", module=module)
        return
    if window is None:
        raise at.error("a global pooling with a mask has no form in plain PyTorch here")
    if layer.mask:
        at.function("pool", _caffe("max_pool_with_mask", window), operators=["max_pool_with_mask"])
    elif not _agrees(window):
        name = "max_pool" if layer.method == MAX else "average_pool"
        at.function("pool", _caffe(name, window), operators=[name])
    else:
        word = "max" if layer.method == MAX else "avg"
        module = Make(f"nn.{word.capitalize()}Pool2d", _arguments(window))
        at.function("pool", _call(f"F.{word}_pool2d", window), module=module)


def _caffe(name: str, window: Window) -> str:
    ceil = "" if window.ceil else ", ceil=False"
    return f"{name}({{0}}, {window.kernel}, {window.stride}, {window.pad}{ceil})"


@writes(SPP)
def spp(layer: SPP, at: Site) -> None:
    if layer.method not in (MAX, AVE):
        raise at.error("STOCHASTIC pooling has no form in plain PyTorch here")
    name = "max_pool" if layer.method == MAX else "average_pool"
    at.function("spp", f"spp({{0}}, {layer.levels}, {name})", operators=["spp", name])
