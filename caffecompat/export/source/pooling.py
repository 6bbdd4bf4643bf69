"""Pooling and SPP, by Caffe's rule about the last window: PyTorch's own where it has the same windows at every size."""

from __future__ import annotations

from caffecompat.export.source.convolving import folded
from caffecompat.export.source.item import Argument, Make
from caffecompat.export.source.registry import Site, writes
from caffecompat.layers.pooling import AVE, MAX, SPP, STOCHASTIC, Pooling, Window


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


_WORDS = {MAX: "max", AVE: "avg"}
_CAFFE: dict[int, str] = {MAX: "max_pool", AVE: "average_pool", STOCHASTIC: "stochastic_pool"}


@writes(Pooling)
def pooling(layer: Pooling, at: Site) -> None:
    window = layer.window
    word = _WORDS.get(layer.method, "")
    if layer.mask:
        _with_mask(window, at)
    elif window is None and word:
        module = Make(f"nn.Adaptive{word.capitalize()}Pool2d", (Argument(1),))
        at.function("pool", f"F.adaptive_{word}_pool2d({{0}}, 1)", module=module)
    elif window is None:
        size = "{0}.shape[2:]"
        at.function("pool", f"stochastic_pool({{0}}, {size}, (1, 1), (0, 0))", operators=["stochastic_pool"])
    elif word and _agrees(window):
        module = Make(f"nn.{word.capitalize()}Pool2d", _arguments(window))
        at.function("pool", _call(f"F.{word}_pool2d", window), module=module)
    else:
        name = _CAFFE[layer.method]
        at.function("pool", _caffe(name, window), operators=[name])


def _with_mask(window: Window | None, at: Site) -> None:
    if window is not None:
        at.function("pool", _caffe("max_pool_with_mask", window), operators=["max_pool_with_mask"])
        return
    place = at.between("place")
    call = "F.max_pool2d({0}, {0}.shape[2:], return_indices=True)"
    at.function("pool", call, outputs=[at.tops[0], place])
    at.function("mask", "{0}.to({1})", [place, at.tops[0]], at.tops[1:])


def _caffe(name: str, window: Window) -> str:
    ceil = "" if window.ceil else ", ceil=False"
    return f"{name}({{0}}, {window.kernel}, {window.stride}, {window.pad}{ceil})"


@writes(SPP)
def spp(layer: SPP, at: Site) -> None:
    name = _CAFFE[layer.method]
    at.function("spp", f"spp({{0}}, {layer.levels}, {name})", operators=["spp", name])
