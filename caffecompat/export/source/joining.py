"""Concat, Slice, Crop, Split, Silence, Filter, BatchReindex and DummyData."""

from __future__ import annotations

from itertools import pairwise

from caffecompat.export.source.item import Argument
from caffecompat.export.source.registry import Site, writes
from caffecompat.export.source.text import literal
from caffecompat.layers.data import DummyData
from caffecompat.layers.joining import Concat, Crop, Silence, Slice, Split
from caffecompat.layers.selecting import BatchReindex, Filter


@writes(Concat)
def concat(layer: Concat, at: Site) -> None:
    param = layer.spec.message.concat_param
    axis = param.concat_dim if param.HasField("concat_dim") else param.axis
    if len(at.bottoms) == 1:
        at.tops[0] = at.bottoms[0]
    else:
        at.function("concat", f"torch.cat([{{*}}], {layer.axis(axis, len(at.shapes[0]))})")


@writes(Slice)
def slice_(layer: Slice, at: Site) -> None:
    param = layer.spec.message.slice_param
    if len(at.tops) == 1:
        at.tops[0] = at.bottoms[0]
        return
    axis = layer.axis(param.slice_dim if param.HasField("slice_dim") else param.axis, len(at.shapes[0]))
    if not param.slice_point:
        at.function("slice", f"{{0}}.chunk({len(at.tops)}, {axis})")
        return
    edges = [0, *param.slice_point, at.shapes[0][axis]]
    sizes = [end - start for start, end in pairwise(edges)]
    if len(set(sizes)) == 1:
        at.function("slice", f"{{0}}.chunk({len(at.tops)}, {axis})")
        return
    at.function("slice", f"{{0}}.split({literal(sizes)}, {axis})")


@writes(Crop)
def crop(layer: Crop, at: Site) -> None:
    param = layer.spec.message.crop_param
    dims = len(at.shapes[0])
    first = layer.axis(param.axis, dims)
    offsets = tuple(param.offset) or (0,)
    offsets = offsets * (dims - first) if len(offsets) == 1 else offsets
    text = literal(offsets)
    at.function("crop", f"crop({{0}}, {{1}}, {first}, {text})", operators=["crop"])


@writes(Split)
def split(layer: Split, at: Site) -> None:
    at.tops = [at.bottoms[0]] * len(at.tops)


@writes(Silence)
def silence(layer: Silence, at: Site) -> None:
    """Its bottoms are no outputs: nothing is to be written."""


@writes(Filter)
def filter_(layer: Filter, at: Site) -> None:
    *filtered, selector = at.bottoms
    for x, top in zip(filtered, at.tops, strict=True):
        at.function("filter", "{0}[{1}.flatten() != 0]", [x, selector], [top])


@writes(BatchReindex)
def batch_reindex(layer: BatchReindex, at: Site) -> None:
    at.function("reindex", "{0}[{1}.long()]")


@writes(DummyData)
def dummy_data(layer: DummyData, at: Site) -> None:
    if any(layer.refill):
        raise at.error(
            "it draws its values anew in each pass", "put an Input layer in its place: --input-shape NAME=SIZES"
        )
    for index, top in enumerate(at.tops):
        value = layer.top(index)
        at.module("constant", "Constant", [Argument(tuple(value.shape))], {"value": value}, [], [top], ["Constant"])
