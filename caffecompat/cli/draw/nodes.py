"""A graph as what is drawn of it: boxes of layers, those that work in place within the box of what they change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from google.protobuf.message import Message

from caffecompat.graph.spec import BlobKey, Graph, LayerSpec
from caffecompat.schema import caffe_pb2

# So many layers stand in one box at the most.
MOST_ROWS = 12


@dataclass
class Node:
    """A box: a layer, and those that change its tops in place.

    Attributes:
        layers: they, in their order.
        bottoms: the blobs that it reads, each once.
        tops: the blobs that others may read.
    """

    layers: list[LayerSpec]
    bottoms: list[BlobKey]
    tops: list[BlobKey]


@dataclass
class Wire:
    """A blob on its way: from the box that makes it to those that read it.

    Attributes:
        key: the blob.
        source: the index of the box that makes it.
        targets: the indices of the boxes that read it, each once.
    """

    key: BlobKey
    source: int
    targets: list[int] = field(default_factory=list)


def build_nodes(graph: Graph) -> tuple[list[Node], list[Wire]]:
    """The boxes of a graph, each after those that it reads from, and what joins them."""
    readers = Counter(key for spec in graph.layers for key in spec.bottoms)
    nodes: list[Node] = []
    maker: dict[BlobKey, int] = {}
    for spec in graph.layers:
        place = maker[spec.bottoms[0]] if _in_place(spec) and readers[spec.bottoms[0]] == 1 else None
        if place is None or len(nodes[place].layers) >= MOST_ROWS:
            place = len(nodes)
            nodes.append(Node([spec], list(dict.fromkeys(spec.bottoms)), list(spec.tops)))
        else:
            node = nodes[place]
            node.layers.append(spec)
            node.tops[node.tops.index(spec.bottoms[0])] = spec.tops[0]
        maker.update(dict.fromkeys(spec.tops, place))
    wires = {key: Wire(key, index) for index, node in enumerate(nodes) for key in node.tops}
    for index, node in enumerate(nodes):
        for key in node.bottoms:
            wires[key].targets.append(index)
    return nodes, list(wires.values())


def _in_place(spec: LayerSpec) -> bool:
    return len(spec.bottoms) == len(spec.tops) == 1 and spec.bottoms[0].name == spec.tops[0].name


def described(spec: LayerSpec) -> str:
    """The type of a layer, and what of its parameters a reader looks for first."""
    return " ".join([spec.type, *_words(spec)])


def _words(spec: LayerSpec) -> Iterator[str]:
    message = spec.message
    if spec.row.param == "convolution_param":
        param = message.convolution_param
        yield f"{param.num_output}," if param.num_output else ""
        yield from _window(param, "kernel_size")
        dilation = list(param.dilation)
        if any(size > 1 for size in dilation):
            yield f"dilation {_sizes(dilation)}"
        if param.group > 1:
            yield f"group {param.group}"
    elif spec.type == "Pooling":
        pooling = message.pooling_param
        yield caffe_pb2.PoolingParameter.PoolMethod.Name(pooling.pool)
        if pooling.global_pooling:
            yield "global"
        else:
            yield from _window(pooling, "kernel_size")
    elif spec.type == "InnerProduct":
        yield str(message.inner_product_param.num_output)
    elif spec.type == "Eltwise":
        yield caffe_pb2.EltwiseParameter.EltwiseOp.Name(message.eltwise_param.operation)
    elif spec.type == "LRN":
        yield str(message.lrn_param.local_size)
    elif spec.type == "Dropout":
        yield f"{message.dropout_param.dropout_ratio:g}"
    elif spec.type == "PriorBox":
        prior = message.prior_box_param
        yield "-".join(f"{size:g}" for size in (*prior.min_size[:1], *prior.max_size[:1]))


def _window(param: Message, kernel: str) -> Iterator[str]:
    """A window's kernel, and its stride and padding where they change something."""
    for name, side, word, plain in ((kernel, "kernel", "", 0), ("stride", "stride", "/", 1), ("pad", "pad", "pad ", 0)):
        two = [getattr(param, f"{side}_{axis}") for axis in "hw" if param.HasField(f"{side}_{axis}")]
        stated = getattr(param, name)
        sizes = two or ([stated] if isinstance(stated, int) else list(stated))
        if any(size != plain for size in sizes):
            yield word + _sizes(sizes, twice=not word)


def _sizes(sizes: Sequence[int], twice: bool = False) -> str:
    """Sizes by axis; one alone stands for both if it is to be written `twice`."""
    if len(set(sizes)) == 1:
        sizes = list(sizes[:1]) * (2 if twice else 1)
    return "x".join(map(str, sizes))
