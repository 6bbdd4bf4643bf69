"""Passes: pure functions from Graph to Graph, one file each."""

from caffecompat.graph.passes.data_to_inputs import data_to_inputs
from caffecompat.graph.passes.drop_train_only import drop_train_only
from caffecompat.graph.passes.insert_splits import insert_splits, split_blobs

__all__ = ["data_to_inputs", "drop_train_only", "insert_splits", "split_blobs"]
