"""From a net to items, layer by layer."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from caffecompat.errors import UnsupportedError
from caffecompat.export.source.item import Item, Make, Value
from caffecompat.export.source.registry import WITHOUT, Site, writers
from caffecompat.export.source.uses import count_uses, follows
from caffecompat.graph.spec import BlobKey, Shape
from caffecompat.layers.base import Layer
from caffecompat.layers.data import DummyData
from caffecompat.net import Net


@dataclass(frozen=True)
class Draft:
    """A net as items.

    Attributes:
        items: in the order they run.
        inputs: what is fed, by the blob's name, with its shape.
        outputs: what it gives, by the blob's name.
        shapes: the shapes of the outputs, as built, by name.
    """

    items: list[Item]
    inputs: dict[str, tuple[Value, Shape]]
    outputs: dict[str, Value]
    shapes: dict[str, Shape]


def build(net: Net) -> Draft:
    """The items of a net, those of BatchNorm and Scale joined.

    Raises:
        UnsupportedError: a layer cannot be written; it names the layer. Or the net has no output.
    """
    values: dict[BlobKey, Value] = {}
    inputs: dict[str, tuple[Value, Shape]] = {}
    items: list[Item] = []
    makers: dict[int, Item] = {}
    read = {key for spec in net.graph.layers for key in spec.bottoms}
    for layer in net.layers:
        spec = layer.spec
        if spec.row.data and not isinstance(layer, DummyData):
            for key in spec.tops:
                values[key] = Value(key.name)
                if key in read or spec.type == "Input":
                    inputs[key.name] = (values[key], net.blob_shapes[key])
            continue
        bottoms = [values[key] for key in spec.bottoms]
        site = Site(layer, bottoms, [net.blob_shapes[key] for key in spec.bottoms], [Value(k.name) for k in spec.tops])
        _writer(layer)(layer, site)
        _share(layer, site.items, makers)
        items += site.items
        values.update(zip(spec.tops, site.tops, strict=True))
    outputs = {key.name: values[key] for key in net.graph.outputs if key not in net.graph.inputs}
    if not outputs:
        raise UnsupportedError("the net has no output", file=net.graph.file)
    shapes = {key.name: net.blob_shapes[key] for key in net.graph.outputs}
    last = list(outputs.values())
    return Draft(join_shuffles(join_scales(items, last), last), inputs, outputs, shapes)


def _writer(layer: Layer) -> Callable[[Any, Site], None]:
    writer = writers().get(type(layer))
    if writer is None:
        raise layer.error(
            f"layer type {layer.spec.type} has no form in plain PyTorch here: {_reason(layer)}",
            hint=".pt2 holds most layers",
            kind=UnsupportedError,
        )
    return writer


def _reason(layer: Layer) -> str:
    if layer.spec.type == "Python":
        return "a Python layer is code of your own, which cannot be copied from here"
    return WITHOUT.get(layer.spec.type, "a layer of a plug-in is code of your own, which cannot be copied from here")


def _share(layer: Layer, items: Sequence[Item], makers: dict[int, Item]) -> None:
    """Call the submodule of the layer that owns the parameters, if all of them are its, and it is made alike."""
    own = [item for item in items if item.has_module and item.tensors]
    if len(own) != 1:
        return
    item = own[0]
    owners = {id(layer.owner_of(index)[0]) for index in range(len(layer.blobs))}
    maker = makers.get(next(iter(owners))) if len(owners) == 1 else None
    if maker is None:
        makers[id(layer)] = item
    elif maker.make == item.make:
        item.shares, maker.foldable = maker, False


# How many axes may follow the channels.
_BEHIND = {"nn.BatchNorm1d": (0, 1), "nn.BatchNorm2d": (2,), "nn.BatchNorm3d": (3,)}


def join_scales(items: Sequence[Item], outputs: Sequence[Value]) -> list[Item]:
    """Let a Scale that follows a batch normalization be its weight and bias."""
    uses: dict[int, int] = {}
    for value in (*outputs, *(value for item in items for value in item.inputs)):
        uses[id(value)] = uses.get(id(value), 0) + 1
    shared = {id(item.shares) for item in items} | {id(item) for item in items if item.shares is not None}
    joined: list[Item] = []
    for item in items:
        last = joined[-1] if joined else None
        if (
            last is not None
            and last.kind == "bn"
            and "weight" not in last.tensors
            and last.make is not None
            and item.make is not None
            and item.make.function in ("ScaleBias", "Scale")
            and item.tensors["weight"].shape == last.tensors["running_mean"].shape
            and _behind(item.make) in _BEHIND[last.make.function]
            and item.inputs[0] is last.outputs[0]
            and uses[id(item.inputs[0])] == 1
            and not shared & {id(last), id(item)}
        ):
            joined[-1] = _joined(last, item)
        else:
            joined.append(item)
    return joined


_SPLIT = re.compile(r"\{0\}\.reshape\(\{0\}\.shape\[0\], (\d+), (\d+), \{0\}\.shape\[2\], \{0\}\.shape\[3\]\)")
_SWAPPED = "{0}.permute(0, 2, 1, 3, 4)"
_MERGED = re.compile(r"\{0\}\.reshape\(\{0\}\.shape\[0\], (\d+), \{0\}\.shape\[3\], \{0\}\.shape\[4\]\)")


def join_shuffles(items: Sequence[Item], outputs: Sequence[Value]) -> list[Item]:
    """Let what orders channels anew by Reshape, Permute and Reshape (ShuffleNet) be PyTorch's `channel_shuffle`."""
    uses = count_uses(items, outputs)
    joined: list[Item] = []
    place = 0
    while place < len(items):
        three = items[place : place + 3]
        split = _SPLIT.fullmatch(three[0].template)
        merged = _MERGED.fullmatch(three[-1].template)
        if (
            split is not None
            and merged is not None
            and three[1].template == _SWAPPED
            and int(split[1]) * int(split[2]) == int(merged[1])
            and follows(three[1], three[0], uses)
            and follows(three[2], three[1], uses)
        ):
            template = f"F.channel_shuffle({{0}}, {split[1]})"
            label = three[2].label
            joined.append(Item(label, "shuffle", three[0].inputs, three[2].outputs, template))
            place += 3
        else:
            joined.append(items[place])
            place += 1
    return joined


def _behind(make: Make) -> object:
    return next(argument.value for argument in make.arguments if argument.keyword == "behind")


def _joined(norm: Item, scale: Item) -> Item:
    assert norm.make is not None
    affine = {"weight": scale.tensors["weight"]}
    affine["bias"] = scale.tensors.get("bias", torch.zeros_like(affine["weight"]))
    arguments = tuple(
        replace(argument, value=True) if argument.keyword == "affine" else argument for argument in norm.make.arguments
    )
    return replace(
        norm,
        outputs=scale.outputs,
        make=Make(norm.make.function, arguments),
        tensors={**affine, **norm.tensors},
        layers={**norm.layers, **scale.layers},
    )
