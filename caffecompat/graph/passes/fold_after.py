"""BatchNorm, Scale and Bias are taken up by the layers after them, and the scale of SSD's Normalize too."""

from __future__ import annotations

import numpy as np

from caffecompat.graph.passes.affine import Affine, affine_of
from caffecompat.graph.passes.linear import Linear, linear_of, take_up
from caffecompat.graph.passes.sketch import Blobs, Floats, Node, Sketch, folded_note, listed
from caffecompat.graph.spec import BlobKey, Graph

# Layers that look at the size of a blob and not at its values.
SIZE_ONLY = frozenset(("PriorBox", "Silence"))
NORMALIZE = ("Normalize", "NormalizeBBox")


def fold_after(graph: Graph, blobs: Blobs) -> tuple[Graph, Blobs, list[str]]:
    """Fold what multiplies and shifts each channel into the convolutions and inner products that read it.

    What is added reaches no padding, so that a layer with a shift is folded only where nothing is padded; a mere
    factor everywhere. Each reader has to take it up, or none does.

    Args:
        graph: the net, as it computes at test time.
        blobs: the parameters of each layer by its name.

    Returns:
        The graph, its blobs, and a sentence on what was folded.
    """
    sketch = Sketch(graph, blobs)
    folded: list[Node] = []
    for node in reversed(list(sketch)):
        # The number of axes is not known here: only an axis counted from the front is understood.
        affine = affine_of(sketch, node, axes=0)
        if affine is not None and _taken_up(sketch, node.tops[0], affine, size_only=False):
            sketch.bypass(node)
            folded.append(node)
    return *sketch.finish(), folded_note(folded[::-1], "into the layers after")


def fold_normalize(graph: Graph, blobs: Blobs) -> tuple[Graph, Blobs, list[str]]:
    """Fold the learned scale of SSD's Normalize layers into the convolutions that read them; 1 remains of it.

    The blob that a Normalize layer makes changes by that. Layers that read only its size, PriorBox, do not mind.

    Args:
        graph: the net.
        blobs: the parameters of each layer by its name.

    Returns:
        The graph, its blobs, and a sentence on what was folded.
    """
    sketch = Sketch(graph, blobs)
    folded: list[str] = []
    for node in sketch:
        scale = sketch.blobs.get(node.layer.name, [])
        if node.type not in NORMALIZE or not node.plain or len(scale) != 1 or np.all(scale[0] == 1):
            continue
        affine = Affine(np.asarray(scale[0], np.float64), np.zeros(()))
        if sketch.named_once(node) and _taken_up(sketch, node.tops[0], affine, size_only=True):
            sketch.blobs[node.layer.name] = [np.ones_like(scale[0])]
            folded.append(node.layer.name)
    notes = [f"folded the scale of {len(folded)} Normalize into the layers after: {listed(folded)}"] if folded else []
    return *sketch.finish(), notes


def _taken_up(sketch: Sketch, key: BlobKey, affine: Affine, *, size_only: bool) -> bool:
    """Let every reader of a blob do what was done before to it; whether all of them can: if not, nothing is changed."""
    readers = [node for node in sketch.readers(key) if not (size_only and node.type in SIZE_ONLY)]
    if not readers or sketch.kept(key):
        return False
    changed: list[tuple[Linear, list[Floats]]] = []
    for node in readers:
        linear = linear_of(sketch, node)
        values = None if linear is None else linear.behind(affine)
        arrays = None if linear is None or values is None else linear.arrays(*values)
        if linear is None or arrays is None:
            return False
        changed.append((linear, arrays))
    for linear, arrays in changed:
        take_up(sketch, linear, arrays)
    return True
