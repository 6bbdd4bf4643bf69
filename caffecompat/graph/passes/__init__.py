"""Passes: pure functions from Graph to Graph, one file each; those that need the parameters take and give them too."""

from caffecompat.graph.passes.data_to_inputs import data_to_inputs
from caffecompat.graph.passes.drop_dropout import drop_dropout
from caffecompat.graph.passes.drop_train_only import drop_train_only
from caffecompat.graph.passes.fold_after import fold_after, fold_normalize
from caffecompat.graph.passes.fold_before import fold_before
from caffecompat.graph.passes.fused import fused
from caffecompat.graph.passes.insert_splits import insert_splits, split_blobs
from caffecompat.graph.passes.join_scales import join_scales
from caffecompat.graph.passes.merge_sums import merge_sums
from caffecompat.graph.passes.work_in_place import work_in_place

__all__ = [
    "data_to_inputs",
    "drop_dropout",
    "drop_train_only",
    "fold_after",
    "fold_before",
    "fold_normalize",
    "fused",
    "insert_splits",
    "join_scales",
    "merge_sums",
    "split_blobs",
    "work_in_place",
]
