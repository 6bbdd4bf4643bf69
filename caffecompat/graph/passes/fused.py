"""All passes that make a net faster at test time, in their order."""

from __future__ import annotations

from caffecompat.graph.passes.drop_dropout import drop_dropout
from caffecompat.graph.passes.fold_after import fold_after, fold_normalize
from caffecompat.graph.passes.fold_before import fold_before
from caffecompat.graph.passes.join_scales import join_scales
from caffecompat.graph.passes.merge_sums import merge_sums
from caffecompat.graph.passes.sketch import Blobs, Pass
from caffecompat.graph.passes.work_in_place import work_in_place
from caffecompat.graph.spec import Graph

# A sum that became a convolution may take up what is behind it, and then be a branch of another sum.
PASSES: tuple[Pass, ...] = (
    drop_dropout,
    fold_before,
    merge_sums,
    fold_before,
    fold_after,
    fold_before,
    merge_sums,
    join_scales,
    fold_normalize,
    work_in_place,
)


def fused(graph: Graph, blobs: Blobs) -> tuple[Graph, Blobs, list[str]]:
    """Run all passes that fold, merge and take out layers without changing what the net computes at test time.

    Args:
        graph: the net.
        blobs: the parameters of each layer by its name, in Caffe's order and of the shapes that the net has.

    Returns:
        The graph, its blobs, and a sentence for each thing that was done.
    """
    notes: list[str] = []
    for one in PASSES:
        graph, blobs, done = one(graph, blobs)
        notes += done
    return graph, blobs, notes
