"""Dropout layers, which do nothing at test time, are taken out."""

from __future__ import annotations

from caffecompat.graph.passes.sketch import Blobs, Node, Sketch, listed
from caffecompat.graph.spec import Graph


def drop_dropout(graph: Graph, blobs: Blobs) -> tuple[Graph, Blobs, list[str]]:
    """Take out the Dropout layers of a net in phase TEST; outputs keep their names.

    Args:
        graph: the net.
        blobs: the parameters of each layer by its name.

    Returns:
        The graph, its blobs, and a sentence on what was taken out.
    """
    sketch = Sketch(graph, blobs)
    gone = [node.layer.name for node in sketch if _is_idle(node) and _taken_out(sketch, node)]
    notes = [f"took out {len(gone)} Dropout: {listed(gone)}"] if gone else []
    return *sketch.finish(), notes


def _is_idle(node: Node) -> bool:
    return node.type == "Dropout" and node.spec.phase == "TEST" and node.plain and not any(node.spec.loss_weights)


def _taken_out(sketch: Sketch, node: Node) -> bool:
    """Take a layer out, by giving its top to the layer before or its bottom to those after; whether either could be."""
    bottom, top = node.bottoms[0], node.tops[0]
    before = sketch.maker(bottom)
    if sketch.sole_reader(bottom) is node and len(before.tops) == 1 and not before.spec.row.data:
        sketch.swallow(before, node)
        return True
    in_place = any(top.name in reader.layer.top for reader in sketch.readers(top))
    if sketch.kept(top) or in_place:
        return False
    sketch.bypass(node)
    return True
