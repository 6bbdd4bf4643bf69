"""Batches that pass through a net in pieces, side by side: threads then wait for each other once, not in each layer."""

from __future__ import annotations

from caffecompat.export.axes import find_axes
from caffecompat.graph.spec import LayerSpec
from caffecompat.net import Net

# Layers that compute each item of axis 0 on its own, wherever axis 0 counts the same items in all of their blobs.
_ALONE = frozenset(
    (
        *("Input", "Convolution", "DepthwiseConvolution", "Deconvolution", "InnerProduct", "Pooling", "LRN", "Split"),
        *("ReLU", "ReLU6", "PReLU", "ELU", "Sigmoid", "TanH", "AbsVal", "BNLL", "Exp", "Log", "Power", "Dropout"),
        *("Bias", "Scale", "Eltwise", "Concat", "Slice", "Crop", "Flatten", "Permute", "Reshape", "Normalize"),
    )
)


def pieces(trunk: Net, threads: int) -> int:
    """Into how many pieces of one size the batch of a trunk may be divided, so that all threads are busy; 1 if not.

    Two for a thread, if there are images enough: the last ones wait less, and the values of a piece fit the cache.
    """
    counts = {trunk.blob_shapes[key][:1] for key in trunk.graph.inputs}
    if threads == 1 or len(counts) != 1 or not all(_alone(trunk, spec) for spec in trunk.graph.layers):
        return 1
    images = sum(*counts)
    count = next((count for count in (2 * threads, threads) if images and images % count == 0), 1)
    if count > 1:
        names = find_axes(trunk, dynamic_batch=True, dynamic_size=False).names
        count = count if all(name[:1] == ("batch",) for name in names.values()) else 1
    return count


def _alone(trunk: Net, spec: LayerSpec) -> bool:
    if spec.type == "Softmax":
        # Along axis 0 it needs all items.
        return spec.message.softmax_param.axis % len(trunk.blob_shapes[spec.bottoms[0]]) != 0
    return spec.type in _ALONE
