"""Interp, Upsample and MaxUnpool."""

from __future__ import annotations

from caffecompat.export.source.registry import Site, writes
from caffecompat.layers.upsampling import Interp, MaxUnpool, Nearest, UpsampleByMask


@writes(Interp)
def interp(layer: Interp, at: Site) -> None:
    x = at.bottoms[0]
    if layer.before or layer.behind:
        x = at.between()
        end = f"-{layer.behind}" if layer.behind else ""
        at.function("crop", f"{{0}}[..., {layer.before}:{end}, {layer.before}:{end}]", None, [x])
    if layer.fixed is not None:
        size = str(layer.fixed)
    else:
        size = "(" + ", ".join(_enlarged(f"{{0}}.shape[{axis}]", layer) for axis in (2, 3)) + ")"
    at.function("interp", f'F.interpolate({{0}}, {size}, mode="bilinear", align_corners=True)', [x])


def _enlarged(size: str, layer: Interp) -> str:
    """(size - 1) / shrink * zoom + 1, whole numbers."""
    text = f"({size} - 1)"
    if layer.shrink != 1:
        text = f"{text} // {layer.shrink}"
    if layer.zoom != 1:
        text = f"{text} * {layer.zoom}"
    return f"{text} + 1"


@writes(Nearest)
def nearest(layer: Nearest, at: Site) -> None:
    down, across = layer.scales
    scale = str(down) if down == across else str(layer.scales)
    at.function("upsample", f"F.interpolate({{0}}, scale_factor={scale})")


@writes(UpsampleByMask, MaxUnpool)
def unpool(layer: UpsampleByMask | MaxUnpool, at: Site) -> None:
    if isinstance(layer, UpsampleByMask) and layer.fixed is not None:
        size = str(layer.fixed)
    elif isinstance(layer, UpsampleByMask):
        sizes = [
            f"{{0}}.shape[{axis + 2}] * {layer.scales[axis]}"
            + (f" - {layer.missing[axis]}" * bool(layer.missing[axis]))
            for axis in (0, 1)
        ]
        size = f"({', '.join(sizes)})"
    else:
        added = [layer.kernel[axis] - 2 * layer.pad[axis] for axis in (0, 1)]
        sizes = [f"({{0}}.shape[{axis + 2}] - 1) * {layer.stride[axis]} + {added[axis]}" for axis in (0, 1)]
        size = f"({', '.join(sizes)})"
    at.function("unpool", f"unpool({{0}}, {{1}}, {size})", operators=["unpool"])
