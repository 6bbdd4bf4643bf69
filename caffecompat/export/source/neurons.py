"""Layers that work on each value by itself."""

from __future__ import annotations

from caffecompat.export.source.item import Argument, Make
from caffecompat.export.source.registry import Site, writes
from caffecompat.export.source.text import literal
from caffecompat.layers.base import Layer
from caffecompat.layers.fork_neurons import HardSwish, Mish, ReLU6, Sign
from caffecompat.layers.neurons import (
    BNLL,
    ELU,
    AbsVal,
    Clip,
    Dropout,
    Exp,
    Log,
    Power,
    ReLU,
    Sigmoid,
    Swish,
    TanH,
    Threshold,
)

# kind, expression, and the class that stands in an nn.Sequential.
_PLAIN: dict[type[Layer], tuple[str, str, str]] = {
    Sigmoid: ("sigmoid", "torch.sigmoid({0})", "nn.Sigmoid"),
    TanH: ("tanh", "torch.tanh({0})", "nn.Tanh"),
    AbsVal: ("abs", "{0}.abs()", ""),
    BNLL: ("softplus", "F.softplus({0})", "nn.Softplus"),
    Mish: ("mish", "F.mish({0})", "nn.Mish"),
    HardSwish: ("hardswish", "F.hardswish({0})", "nn.Hardswish"),
    Sign: ("sign", "torch.sign({0})", ""),
}


@writes(*_PLAIN)
def plain(layer: Layer, at: Site) -> None:
    kind, template, module = _PLAIN[type(layer)]
    at.function(kind, template, module=Make(module) if module else None)


@writes(ReLU)
def relu(layer: ReLU, at: Site) -> None:
    if not layer.negative_slope:
        module = Make("nn.ReLU", (Argument(True, "inplace"),))
        at.function("relu", "F.relu({0})", module=module)
        return
    slope = layer.negative_slope
    module = Make("nn.LeakyReLU", (Argument(slope), Argument(True, "inplace")))
    at.function("leaky_relu", f"F.leaky_relu({{0}}, {literal(slope)})", module=module)


@writes(ReLU6)
def relu6(layer: ReLU6, at: Site) -> None:
    if layer.negative_slope:
        at.function("relu6", f"F.leaky_relu({{0}}, {literal(layer.negative_slope)}).clamp(max=6)")
    else:
        at.function("relu6", "F.relu6({0})", module=Make("nn.ReLU6", (Argument(True, "inplace"),)))


@writes(ELU)
def elu(layer: ELU, at: Site) -> None:
    module = Make("nn.ELU", (Argument(layer.alpha, "", "", 1.0),))
    at.function("elu", f"F.elu({{0}}, {literal(layer.alpha)})", module=module)


@writes(Swish)
def swish(layer: Swish, at: Site) -> None:
    if layer.beta == 1:
        at.function("swish", "F.silu({0})", module=Make("nn.SiLU"))
    else:
        at.function("swish", f"{{0}} * torch.sigmoid({{0}} * {literal(layer.beta)})")


def _scaled(scale: float, shift: float) -> str:
    text = "{0}" if scale == 1 else f"{{0}} * {literal(scale)}"
    if shift == 0:
        return text
    return f"{text} {'-' if shift < 0 else '+'} {literal(abs(shift))}"


@writes(Power)
def power(layer: Power, at: Site) -> None:
    if layer.power * layer.scale == 0:
        # Caffe: a constant.
        at.function("power", f"torch.full_like({{0}}, {literal(layer.shift)}).pow({literal(layer.power)})")
        return
    inner = _scaled(layer.scale, layer.shift)
    if layer.power == 1:
        if inner == "{0}":
            at.tops[0] = at.bottoms[0]
        else:
            at.function("power", inner)
        return
    base = inner if inner == "{0}" else f"({inner})"
    root = ".sqrt()" if layer.power == 0.5 else f".pow({literal(layer.power)})"
    at.function("power", base + root)


@writes(Exp)
def exp(layer: Exp, at: Site) -> None:
    at.function("exp", f"torch.exp({_scaled(layer.scale, layer.shift)})")


@writes(Log)
def log(layer: Log, at: Site) -> None:
    text = f"torch.log({_scaled(layer.scale, layer.shift)})"
    at.function("log", text if layer.log_base == 1 else f"{text} / {literal(layer.log_base)}")


@writes(Threshold)
def threshold(layer: Threshold, at: Site) -> None:
    at.function("threshold", f"({{0}} > {literal(layer.threshold)}).float()")


@writes(Dropout)
def dropout(layer: Dropout, at: Site) -> None:
    ratio = literal(layer.ratio)
    module = Make("nn.Dropout", (Argument(layer.ratio, "", "", 0.5),))
    at.function("dropout", f"F.dropout({{0}}, {ratio}, self.training)", module=module)


@writes(Clip)
def clip(layer: Clip, at: Site) -> None:
    """Caffe: everything becomes `min` where it is above `max`."""
    greatest = max(layer.least, layer.greatest) if layer.least <= layer.greatest else layer.least
    at.function("clip", f"{{0}}.clamp({literal(layer.least)}, {literal(greatest)})")
