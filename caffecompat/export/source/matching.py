"""Matching, SupportContext and QueryContext: imported with the plug-ins that they are."""

from __future__ import annotations

from caffecompat.export.source.item import Argument
from caffecompat.export.source.registry import Site, writes
from caffecompat.export.source.text import literal
from caffecompat.layers.matching import Matching
from caffecompat.layers.matching_context import QueryContext, SupportContext


@writes(Matching)
def matching(layer: Matching, at: Site) -> None:
    texts = [f"ways={layer.ways}"]
    if layer.episodes != 1:
        texts.append(f"episodes={layer.episodes}")
    if layer.scale != 1:
        texts.append(f"scale={literal(layer.scale)}")
    at.function("match", f"match({{0}}, {{1}}, {{2}}, {', '.join(texts)})", operators=["match"])


@writes(SupportContext)
def support_context(layer: SupportContext, at: Site) -> None:
    names = [f"{what}.{way}" for way in (0, 1) for what in ("input", "input", "hidden")]
    tensors = {
        f"{name}.{kind}": blob
        for name, kind, blob in zip(names, ("weight", "bias", "weight") * 2, layer.blobs, strict=True)
    }
    arguments = [Argument(layer.size, "", "out_channels"), Argument(layer.episodes, "episodes", "", 1)]
    at.module("context", "SupportContext", arguments, tensors, operators=["SupportContext"])


@writes(QueryContext)
def query_context(layer: QueryContext, at: Site) -> None:
    tensors = dict(zip(("input.weight", "input.bias", "hidden.weight"), layer.blobs, strict=True))
    arguments = [
        Argument(layer.size, "", "out_channels"),
        Argument(layer.steps, "steps", "", 5),
        Argument(layer.episodes, "episodes", "", 1),
    ]
    at.module("context", "QueryContext", arguments, tensors, operators=["QueryContext"])
