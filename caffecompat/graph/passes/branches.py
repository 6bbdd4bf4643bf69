"""The branches of a sum: which layers they are, and what each does as one convolution."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from caffecompat.graph.analysis import by_axis
from caffecompat.graph.passes.affine import Affine, affine_of
from caffecompat.graph.passes.kernels import Kernel
from caffecompat.graph.passes.linear import CONVOLUTIONS, Linear, dilation_of, linear_of
from caffecompat.graph.passes.sketch import Node, Sketch
from caffecompat.graph.spec import BlobKey
from caffecompat.schema import caffe_pb2


@dataclass(frozen=True)
class Branch:
    """The layers from the source to the sum, in order; none for the source itself."""

    source: BlobKey
    nodes: tuple[Node, ...]


def branch_to(sketch: Sketch, key: BlobKey, axes: int) -> Branch:
    """The branch that ends in a blob: back to a blob with other readers, or to what one convolution cannot do as well.

    Args:
        sketch: the net.
        key: the blob.
        axes: the number of its axes.
    """
    nodes: list[Node] = []
    windows = 0
    while sketch.sole_reader(key) is not None:
        node = sketch.maker(key)
        window = convolution_of(sketch, node) is not None or _averages(node)
        windows += window
        if windows > 1 or not (window or affine_of(sketch, node, axes)):
            break
        nodes.append(node)
        key = node.bottoms[0]
    return Branch(key, tuple(reversed(nodes)))


def convolution_of(sketch: Sketch, node: Node) -> Linear | None:
    """The layer as a convolution, if it is one that says its groups."""
    linear = linear_of(sketch, node) if node.type in CONVOLUTIONS else None
    return linear if linear is not None and linear.group is not None else None


def kernel_of(sketch: Sketch, branch: Branch, channels: int, spatial: int) -> Kernel | None:
    """A branch as one convolution, or None where it is none.

    Args:
        sketch: the net.
        branch: the branch.
        channels: the channels of its source.
        spatial: the number of spatial axes.
    """
    kernel = Kernel.identity(channels, spatial)
    for node in branch.nodes:
        affine = affine_of(sketch, node, spatial + 2)
        if affine is not None:
            following = kernel.scaled(affine)
        else:
            # Before the window there has been only a factor and a summand for each channel.
            following = _slid(sketch, node, Affine(kernel.weight.ravel(), kernel.bias), spatial)
        if following is None:
            return None
        kernel = following
    return kernel


def _averages(node: Node) -> bool:
    pooling = node.layer.pooling_param
    return node.type == "Pooling" and node.plain and pooling.pool == pooling.AVE and not pooling.global_pooling


def _slid(sketch: Sketch, node: Node, before: Affine, spatial: int) -> Kernel | None:
    """The window of a layer behind `before`."""
    if node.type == "Pooling":
        return _averaged(node.layer.pooling_param, before) if spatial == 2 else None
    linear = convolution_of(sketch, node)
    values = None if linear is None or linear.axes != spatial + 2 else linear.behind(before)
    if linear is None or linear.group is None or values is None:
        return None
    param = node.layer.convolution_param
    stride, pad = by_axis(param, "stride", 1, spatial), by_axis(param, "pad", 0, spatial)
    return Kernel(*values, linear.group, tuple(stride), tuple(pad), tuple(dilation_of(node.layer, spatial)))


def _averaged(param: caffe_pb2.PoolingParameter, before: Affine) -> Kernel | None:
    """The mean over a window.

    Caffe divides by the part of the window that lies within the bottom and its padding: by all of it, unless the number
    of places is rounded up.
    """
    size, stride, pad = (tuple(by_axis(param, *pair, 2)) for pair in (("kernel", 0), ("stride", 1), ("pad", 0)))
    if min(size) < 1 or (before.shifts and any(pad)):
        return None
    up = param.ceil_mode if param.HasField("ceil_mode") else param.round_mode == param.CEIL
    weight = np.broadcast_to(before.scale.reshape(-1, 1, 1, 1) / prod(size), (before.scale.size, 1, *size))
    return Kernel(weight, before.shift, before.scale.size, stride, pad, (1, 1), whole=not up or max(stride) == 1)
