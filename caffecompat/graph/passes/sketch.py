"""A graph and its blobs while a pass changes them: who makes a blob, who reads it, and which layers are gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from caffecompat.graph.builder import relink
from caffecompat.graph.linker import Source
from caffecompat.graph.spec import BlobKey, Graph, LayerSpec
from caffecompat.schema import caffe_pb2

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
# The parameters of each layer by its name.
Blobs = dict[str, list[Floats]]
# What a pass returns last are sentences on what it did.
Pass = Callable[[Graph, Blobs], tuple[Graph, Blobs, list[str]]]
MAX_NAMED = 4


@dataclass(eq=False)
class Node:
    """A layer of a sketch.

    Attributes:
        spec: the layer of the graph that it stands for.
        layer: its message, a copy that may be changed; its bottoms and tops have the names of the keys.
        bottoms: the blobs that it reads.
        tops: the blobs that it makes.
        shared: other layers use its parameters, or it uses theirs, so that they may not change.
    """

    spec: LayerSpec
    layer: caffe_pb2.LayerParameter
    bottoms: list[BlobKey]
    tops: list[BlobKey]
    shared: bool

    @property
    def type(self) -> str:
        """The type of the layer."""
        return self.spec.type if self.layer.type == self.spec.message.type else self.layer.type

    @property
    def plain(self) -> bool:
        """Whether it has one bottom, one top and parameters of its own: what most passes ask for."""
        return len(self.bottoms) == 1 and len(self.tops) == 1 and not self.shared


class Sketch:
    """What a pass works on; the graph and the blobs that it is made of stay as they are.

    Attributes:
        blobs: the parameters by layer; a pass puts new arrays there and never changes one.
    """

    def __init__(self, graph: Graph, blobs: Blobs) -> None:
        self.blobs = dict(blobs)
        self._graph = graph
        shared = {ref.owner[0] for spec in graph.layers for ref in spec.params if ref.owner is not None}
        self._nodes: dict[int, Node] = {}
        self._makers: dict[BlobKey, Node] = {}
        self._readers: dict[BlobKey, list[Node]] = {}
        # Read from outside: outputs, and what counts as a loss.
        self._kept = set(graph.outputs)
        for spec in graph.layers:
            layer = caffe_pb2.LayerParameter()
            layer.CopyFrom(spec.message)
            sharing = spec.index in shared or any(ref.owner is not None for ref in spec.params)
            node = Node(spec, layer, list(spec.bottoms), list(spec.tops), sharing)
            self._nodes[spec.index] = node
            self._makers.update(dict.fromkeys(spec.tops, node))
            for key in spec.bottoms:
                self._readers.setdefault(key, []).append(node)
            self._kept.update(key for key, weight in zip(spec.tops, spec.loss_weights, strict=False) if weight)
        self._names = Counter(spec.name for spec in graph.layers)

    def __iter__(self) -> Iterator[Node]:
        """The layers in order; those that a pass takes out or puts in meanwhile are seen as they then are."""
        for index in list(self._nodes):
            if index in self._nodes:
                yield self._nodes[index]

    def maker(self, key: BlobKey) -> Node:
        """The layer that makes a blob."""
        return self._makers[key]

    def readers(self, key: BlobKey) -> Sequence[Node]:
        """The layers that read a blob; one that reads it twice is there twice."""
        return self._readers.get(key, ())

    def kept(self, key: BlobKey) -> bool:
        """Whether a blob is an output or a loss: it has to stay what it is."""
        return key in self._kept

    def sole_reader(self, key: BlobKey) -> Node | None:
        """The one reader of a blob that nobody else looks at, or None."""
        readers = self.readers(key)
        return readers[0] if len(readers) == 1 and key not in self._kept else None

    def named_once(self, node: Node) -> bool:
        """Whether no other layer has its name: parameters are found by name."""
        return self._names[node.layer.name] == 1

    def swallow(self, node: Node, following: Node) -> None:
        """Take out `following`, which alone reads the top of `node`: its top is made by `node` now."""
        del self._readers[node.tops[0]], self._makers[node.tops[0]]
        self._set_top(node, following.tops[0], following.layer.top[0])
        self._drop(following)

    def bypass(self, node: Node) -> None:
        """Take out a layer of one bottom and one top: the readers of the top read the bottom."""
        bottom, top = node.bottoms[0], node.tops[0]
        self._readers[bottom].remove(node)
        for reader in self._readers.pop(top, []):
            for position, key in enumerate(reader.bottoms):
                if key == top:
                    reader.bottoms[position] = bottom
                    reader.layer.bottom[position] = node.layer.bottom[0]
            self._readers[bottom].append(reader)
        del self._makers[top]
        self._drop(node)

    def replace(
        self, last: Node, gone: Sequence[Node], layer: caffe_pb2.LayerParameter, bottom: BlobKey, blobs: list[Floats]
    ) -> None:
        """Put a layer that reads `bottom` in the place of `last`, whose tops it makes, and of those that are `gone`."""
        for node in (last, *gone):
            for key in node.bottoms:
                self._readers[key].remove(node)
        for node in gone:
            for key in node.tops:
                del self._makers[key]
            self._drop(node)
        last.layer, last.bottoms = layer, [bottom]
        self._readers[bottom].append(last)
        self.blobs[layer.name] = blobs

    def finish(self) -> tuple[Graph, Blobs]:
        """The new graph and the blobs of its layers.

        Raises:
            GraphError: the layers do not make a net.
        """
        sources = [Source(node.layer, node.spec.position, node.spec.unknown) for node in self._nodes.values()]
        return relink(self._graph, sources), self.blobs

    def _set_top(self, node: Node, key: BlobKey, name: str) -> None:
        node.tops[0] = key
        node.layer.top[0] = name
        self._makers[key] = node

    def _drop(self, node: Node) -> None:
        del self._nodes[node.spec.index]
        if self.named_once(node):
            self.blobs.pop(node.layer.name, None)


def listed(names: Sequence[str]) -> str:
    """Names for a note: the first few of many."""
    shown = ", ".join(f'"{name}"' for name in names[:MAX_NAMED])
    return shown if len(names) <= MAX_NAMED else f"{shown} and {len(names) - MAX_NAMED} more"


def folded_note(nodes: Sequence[Node], where: str) -> list[str]:
    """A sentence on layers that were folded, if any were."""
    if not nodes:
        return []
    counts = Counter(node.type for node in nodes)
    kinds = " and ".join(f"{count} {kind}" for kind, count in counts.items())
    return [f"folded {kinds} {where}: {listed([node.layer.name for node in nodes])}"]
