"""Activations that could work in place do so: Caffe then needs one blob less for each."""

from __future__ import annotations

from caffecompat.graph.passes.sketch import Blobs, Node, Sketch, listed
from caffecompat.graph.spec import Graph

ACTIVATIONS = frozenset(("Clip", "ELU", "PReLU", "ReLU", "ReLU6", "Sigmoid", "TanH"))
# Layers whose tops have memory of their own: those of Reshape, Flatten, Slice and Concat may be that of a bottom.
OWN_MEMORY = frozenset(
    (
        *("BatchNorm", "Bias", "Convolution", "ConvolutionDepthwise", "Deconvolution", "DepthwiseConvolution"),
        *("Eltwise", "InnerProduct", "LRN", "Pooling", "Scale", *ACTIVATIONS),
    )
)


def work_in_place(graph: Graph, blobs: Blobs) -> tuple[Graph, Blobs, list[str]]:
    """Let activations that alone read a blob overwrite it; the blob takes the name of what they make.

    A name that remains thus means the same values as before.

    Args:
        graph: the net.
        blobs: the parameters of each layer by its name.

    Returns:
        The graph, its blobs, and a sentence on what works in place now.
    """
    sketch = Sketch(graph, blobs)
    first = {key.name: node for node in reversed(list(sketch)) for key in node.tops}
    merged = [node for node in sketch if node.type in ACTIVATIONS and _could_overwrite(sketch, node, first)]
    renamed: dict[str, str] = {}
    for node in reversed(merged):
        name = node.tops[0].name
        renamed[node.bottoms[0].name] = renamed.get(name, name)
    for node in sketch:
        for blobs_of in (node.layer.bottom, node.layer.top):
            blobs_of[:] = [renamed.get(name, name) for name in blobs_of]
    names = [node.layer.name for node in merged]
    return *sketch.finish(), [f"{len(names)} activations work in place: {listed(names)}"] if names else []


def _could_overwrite(sketch: Sketch, node: Node, first: dict[str, Node]) -> bool:
    if len(node.bottoms) != 1 or len(node.tops) != 1:
        return False
    bottom, top = node.bottoms[0], node.tops[0]
    # The layer that made the first version of the blob, before others that work in place.
    made = first[bottom.name]
    return bottom.name != top.name and made.type in OWN_MEMORY and sketch.sole_reader(bottom) is node
