"""Eltwise, Axpy, Reduction and ArgMax."""

from __future__ import annotations

from caffecompat.export.source.registry import Site, writes
from caffecompat.export.source.text import literal
from caffecompat.layers.channels import Axpy
from caffecompat.layers.elementwise import ArgMax, Eltwise, Operation, Reducer, Reduction


@writes(Eltwise)
def eltwise(layer: Eltwise, at: Site) -> None:
    param = layer.spec.message.eltwise_param
    names = [f"{{{place}}}" for place in range(len(at.bottoms))]
    if param.operation == Operation.PROD:
        at.function("product", " * ".join(names))
    elif param.operation == Operation.MAX:
        text = names[0]
        for name in names[1:]:
            text = f"torch.maximum({text}, {name})"
        at.function("maximum", text)
    else:
        text = ""
        for name, coeff in zip(names, list(param.coeff) or [1.0] * len(names), strict=True):
            term = name if abs(coeff) == 1 else f"{literal(abs(coeff))} * {name}"
            sign = "-" if coeff < 0 else "+"
            text = f"{text} {sign} {term}" if text else (term if coeff >= 0 else f"-{term}")
        at.function("add", text)


@writes(Axpy)
def axpy(layer: Axpy, at: Site) -> None:
    behind = len(at.shapes[1]) - 2
    if len(at.shapes[0]) == len(at.shapes[1]):
        at.function("axpy", "{0} * {1} + {2}")
    else:
        ones = ", 1" * behind
        at.function("axpy", f"{{0}}.reshape(*{{1}}.shape[:2]{ones}) * {{1}} + {{2}}")


@writes(Reduction)
def reduction(layer: Reduction, at: Site) -> None:
    param = layer.spec.message.reduction_param
    dims = len(at.shapes[0])
    axes = tuple(range(layer.axis(param.axis, dims), dims))
    over = literal(axes if len(axes) > 1 else axes[0])
    text = {
        Reducer.MEAN: f"{{0}}.mean({over})",
        Reducer.ASUM: f"{{0}}.abs().sum({over})",
        Reducer.SUMSQ: f"{{0}}.square().sum({over})",
    }.get(param.operation, f"{{0}}.sum({over})")
    at.function("reduction", text if param.coeff == 1 else f"{text} * {literal(param.coeff)}")


@writes(ArgMax)
def argmax(layer: ArgMax, at: Site) -> None:
    """Caffe: of equal values the higher place comes first."""
    param = layer.spec.message.argmax_param
    dims = len(at.shapes[0])
    x = at.bottoms[0]
    places, values = at.between("places"), at.between("values")
    axis = layer.axis(param.axis, dims) if param.HasField("axis") else 1
    if not param.HasField("axis"):
        x = at.between()
        at.function("flatten", "{0}.flatten(1)", None, [x])
    found = [places, values]
    kept = param.HasField("axis")
    if kept:
        found = [places, at.tops[0]] if param.out_max_val else [at.tops[0], values]
    at.function("argmax", f"argmax({{0}}, {axis}, {param.top_k})", [x], found, operators=["argmax"])
    if kept:
        return
    rows = found if param.out_max_val else found[:1]
    text = "torch.stack([{*}], 1)" + (f"[(...,{' None,' * (dims - 3)})]".replace(",)", ")") if dims > 3 else "")
    at.function("stack", text, rows)
