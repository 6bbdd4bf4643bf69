"""BatchNorm, Scale and Bias are taken up by the convolution, deconvolution or inner product before them."""

from __future__ import annotations

from caffecompat.graph.passes.affine import affine_of
from caffecompat.graph.passes.linear import linear_of, take_up
from caffecompat.graph.passes.sketch import Blobs, Node, Sketch, folded_note
from caffecompat.graph.spec import Graph


def fold_before(graph: Graph, blobs: Blobs) -> tuple[Graph, Blobs, list[str]]:
    """Fold what multiplies and shifts each channel into the layer with a weight whose top it alone reads.

    The layer keeps its name, and makes the blob that the last of the folded layers made. What takes the statistics of
    the batch, shares parameters or has another reader beside it stays as it is.

    Args:
        graph: the net, as it computes at test time.
        blobs: the parameters of each layer by its name.

    Returns:
        The graph, its blobs, and a sentence on what was folded.
    """
    sketch = Sketch(graph, blobs)
    folded: list[Node] = []
    for node in sketch:
        while (following := _foldable(sketch, node)) is not None:
            sketch.swallow(node, following)
            folded.append(following)
    return *sketch.finish(), folded_note(folded, "into the layer before")


def _foldable(sketch: Sketch, node: Node) -> Node | None:
    """The layer behind `node`, if `node` could take up what it does, which then is done."""
    linear = linear_of(sketch, node)
    if linear is None:
        return None
    following = sketch.sole_reader(node.tops[0])
    affine = None if following is None else affine_of(sketch, following, linear.axes)
    if following is None or affine is None:
        return None
    values = linear.after(affine)
    arrays = None if values is None else linear.arrays(*values)
    if arrays is None:
        return None
    take_up(sketch, linear, arrays)
    return following
