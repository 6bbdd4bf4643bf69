"""Split layers where a blob has several readers, with the names that Caffe gives them."""

from __future__ import annotations

from collections import Counter

from caffecompat.errors import GraphError, quoted
from caffecompat.graph.builder import net_of, relink
from caffecompat.graph.linker import Source
from caffecompat.graph.spec import Graph
from caffecompat.schema import caffe_pb2

Top = tuple[int, int]


def insert_splits(message: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """The net with a Split layer after every top that is used more than once.

    Caffe (`insert_splits.cpp`): the split of blob "b", top 0 of layer "l", is layer "b_l_0_split", and its tops are
    "b_l_0_split_0", "b_l_0_split_1", and so on, in the order of their readers; a stated loss weight is a use, the
    first, and moves to the Split layer.

    Args:
        message: a net in today's form, filtered by its rules; it stays as it is.

    Raises:
        GraphError: a bottom that no layer before makes.
    """
    sources, uses, losses = _uses(message)
    new = net_of(message, ())
    next_copy: Counter[Top] = Counter()
    for index, old in enumerate(message.layer):
        layer = new.layer.add()
        layer.CopyFrom(old)
        for position, top in enumerate(sources[index]):
            if uses[top] > 1:
                name = _split_name(message, top)
                layer.bottom[position] = f"{name}_{next_copy[top]}"
                next_copy[top] += 1
        for position in range(len(old.top)):
            top = (index, position)
            if uses[top] > 1:
                _add_split(new, _split_name(message, top), old.top[position], uses[top], losses.get(top, 0.0))
                if top in losses:
                    layer.ClearField("loss_weight")
                    next_copy[top] += 1
    return new


def _uses(message: caffe_pb2.NetParameter) -> tuple[list[list[Top]], Counter[Top], dict[Top, float]]:
    """The top behind each bottom of each layer, the uses of each top, and the loss weights."""
    sources: list[list[Top]] = []
    uses: Counter[Top] = Counter()
    losses: dict[Top, float] = {}
    last: dict[str, Top] = {}
    for index, layer in enumerate(message.layer):
        for name in layer.bottom:
            if name not in last:
                raise GraphError(f"unknown bottom {quoted(name)}", layer=layer.name)
        sources.append([last[name] for name in layer.bottom])
        uses.update(sources[-1])
        last.update((name, (index, position)) for position, name in enumerate(layer.top))
        for position, (_, weight) in enumerate(zip(layer.top, layer.loss_weight, strict=False)):
            if weight:
                losses[index, position] = weight
                uses[index, position] += 1
    return sources, uses, losses


def _split_name(message: caffe_pb2.NetParameter, top: Top) -> str:
    layer = message.layer[top[0]]
    return f"{layer.top[top[1]]}_{layer.name}_{top[1]}_split"


def _add_split(net: caffe_pb2.NetParameter, name: str, blob: str, copies: int, loss_weight: float) -> None:
    layer = net.layer.add(name=name, type="Split", bottom=[blob])
    layer.top.extend(f"{name}_{copy}" for copy in range(copies))
    if loss_weight:
        layer.loss_weight.extend([loss_weight, *[0.0] * (copies - 1)])


def split_blobs(graph: Graph) -> Graph:
    """The graph with Caffe's Split layers: every blob has one reader, and all of Caffe's names are there.

    Raises:
        GraphError: see `insert_splits`.
    """
    plain = net_of(graph.message, [spec.message for spec in graph.layers])
    specs = iter(graph.layers)
    sources: list[Source] = []
    following = next(specs, None)
    for layer in insert_splits(plain).layer:
        if following is not None and layer.name == following.name:
            sources.append(Source(layer, following.position, following.unknown))
            following = next(specs, None)
        else:
            sources.append(Source(layer, sources[-1].position))
    return relink(graph, sources)
