"""Reshape, Flatten, Permute, Tile, Softmax, ShuffleChannel, Padding, Reorg and Region."""

from __future__ import annotations

from caffecompat.export.source.item import Argument, Make
from caffecompat.export.source.registry import Site, writes
from caffecompat.export.source.text import literal
from caffecompat.layers.channels import Padding, ShuffleChannel
from caffecompat.layers.reshape import Flatten, Permute, Reshape, Tile
from caffecompat.layers.softmax import Softmax
from caffecompat.layers.yolo import Region, Reorg


@writes(Reshape)
def reshape(layer: Reshape, at: Site) -> None:
    param = layer.spec.message.reshape_param
    dims = len(at.shapes[0])
    start = param.axis if param.axis >= 0 else dims + param.axis + 1
    end = dims if param.num_axes == -1 else start + param.num_axes
    kept = [f"{{0}}.shape[{axis}]" for axis in range(dims)]
    stated = [kept[place] if size == 0 else str(size) for place, size in enumerate(param.shape.dim, start)]
    if len(stated) > 1 and (start, end) == (0, dims) and stated[: dims - 1] == kept[: dims - 1]:
        new = stated[dims - 1 :]
        if len(new) > 1 and not set(new) & set(kept):
            at.function("reshape", f"{{0}}.unflatten({dims - 1}, ({', '.join(new)}))")
            return
    at.function("reshape", f"{{0}}.reshape({', '.join([*kept[:start], *stated, *kept[end:]]) or '()'})")


@writes(Flatten)
def flatten(layer: Flatten, at: Site) -> None:
    param = layer.spec.message.flatten_param
    dims = len(at.shapes[0])
    first, last = layer.axis(param.axis, dims), layer.axis(param.end_axis, dims)
    if first > last:
        at.function("flatten", f"{{0}}.unsqueeze({first})")
    elif last == dims - 1:
        module = Make("nn.Flatten", (Argument(first, "", "", 1),))
        at.function("flatten", f"{{0}}.flatten({first or ''})", module=module)
    else:
        at.function("flatten", f"{{0}}.flatten({first}, {last})")


@writes(Permute)
def permute(layer: Permute, at: Site) -> None:
    order = list(layer.spec.message.permute_param.order)
    order += [axis for axis in range(len(at.shapes[0])) if axis not in order]
    at.function("permute", f"{{0}}.permute({', '.join(map(str, order))})")


@writes(Tile)
def tile(layer: Tile, at: Site) -> None:
    param = layer.spec.message.tile_param
    repeats = ["1"] * len(at.shapes[0])
    repeats[layer.axis(param.axis, len(repeats))] = str(param.tiles)
    at.function("tile", f"{{0}}.repeat({', '.join(repeats)})")


@writes(Softmax)
def softmax(layer: Softmax, at: Site) -> None:
    axis = layer.axis(layer.spec.message.softmax_param.axis, len(at.shapes[0]))
    at.function("softmax", f"F.softmax({{0}}, {axis})", module=Make("nn.Softmax", (Argument(axis),)))


@writes(ShuffleChannel)
def shuffle_channel(layer: ShuffleChannel, at: Site) -> None:
    if len(at.shapes[0]) == 4:
        at.function("shuffle", f"F.channel_shuffle({{0}}, {layer.group})")
    else:
        at.function("shuffle", f"{{0}}.unflatten(1, ({layer.group}, -1)).transpose(1, 2).flatten(1, 2)")


@writes(Padding)
def padding(layer: Padding, at: Site) -> None:
    at.function("pad", f"F.pad({{0}}, {literal(tuple(layer.sides))}, value={literal(layer.value)})")


@writes(Reorg)
def reorg(layer: Reorg, at: Site) -> None:
    param = layer.spec.message.reorg_param
    last = ", reverse=True" if param.reverse else ""
    at.function("reorg", f"reorg({{0}}, {param.stride}{last})", operators=["reorg"])


@writes(Region)
def region(layer: Region, at: Site) -> None:
    softmax = "" if layer._softmax else ", softmax=False"
    numbers = f"{layer._boxes}, {layer._coords}, {layer._classes}"
    at.function("region", f"region({{0}}, {numbers}{softmax})", operators=["region"])
