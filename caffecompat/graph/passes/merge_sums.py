"""A sum of parallel linear branches becomes one convolution: structural re-parameterization.

Source: Ding et al.: RepVGG: Making VGG-style ConvNets Great Again, CVPR 2021 (3x3, 1x1 and identity, each with
BatchNorm); Ding et al.: ACNet: Strengthening the Kernel Skeletons, ICCV 2019 (3x3, 1x3 and 3x1); Ding et al.: Diverse
Branch Block, CVPR 2021 (average pooling).
"""

from __future__ import annotations

from collections.abc import Sequence

from caffecompat.graph.passes.branches import Branch, branch_to, convolution_of, kernel_of
from caffecompat.graph.passes.kernels import Kernel, summed
from caffecompat.graph.passes.linear import CONVOLUTIONS, as_floats
from caffecompat.graph.passes.sketch import Blobs, Node, Sketch, listed
from caffecompat.graph.spec import Graph
from caffecompat.schema import caffe_pb2

SUM = caffe_pb2.EltwiseParameter.SUM


def merge_sums(graph: Graph, blobs: Blobs) -> tuple[Graph, Blobs, list[str]]:
    """Make one convolution of each Eltwise SUM that is linear in one blob, along branches that it alone reads.

    A branch is the blob itself, or a convolution or average pooling, with BatchNorm, Scale and Bias before and behind.
    At least one has to be a convolution. The new layer has the name of the Eltwise layer.

    Args:
        graph: the net, as it computes at test time.
        blobs: the parameters of each layer by its name.

    Returns:
        The graph, its blobs, and a sentence on what became one.
    """
    sketch = Sketch(graph, blobs)
    merged: list[str] = []
    branches = 0
    for node in sketch:
        found = _branches(sketch, node)
        kernel = _kernel(sketch, node, found)
        arrays = None if kernel is None else as_floats((kernel.weight, kernel.bias))
        if kernel is None or arrays is None:
            continue
        source = found[0].source
        gone = [layer for branch in found for layer in branch.nodes]
        kinds = {layer.type for layer in gone if layer.type in CONVOLUTIONS}
        # Depthwise ones stay what they are: where Caffe has such a layer, it is the faster one.
        kind = kinds.pop() if len(kinds) == 1 else "Convolution"
        sketch.replace(node, gone, _layer(node.layer, kind, source.name, kernel), source, arrays)
        merged.append(node.layer.name)
        branches += len(found)
    notes = [f"{len(merged)} sums of {branches} branches became one convolution each: {listed(merged)}"]
    return *sketch.finish(), notes if merged else []


def _branches(sketch: Sketch, node: Node) -> list[Branch]:
    """The branches of a sum, if they are all of one source; else none."""
    if node.type != "Eltwise" or len(node.tops) != 1 or node.layer.eltwise_param.operation != SUM:
        return []
    axes = _axes(sketch, node)
    found = [branch_to(sketch, key, axes) for key in node.bottoms] if axes else []
    return found if len({branch.source for branch in found}) == 1 else []


def _axes(sketch: Sketch, node: Node) -> int:
    """The number of axes of the bottoms, as a convolution shows that makes one of them, some layers before; else 0."""
    for key in node.bottoms:
        while sketch.sole_reader(key) is not None:
            maker = sketch.maker(key)
            linear = convolution_of(sketch, maker)
            if linear is not None:
                return linear.axes
            if len(maker.bottoms) != 1:
                break
            key = maker.bottoms[0]
    return 0


def _kernel(sketch: Sketch, node: Node, branches: Sequence[Branch]) -> Kernel | None:
    """The convolution that a sum is."""
    linears = [convolution_of(sketch, layer) for branch in branches for layer in branch.nodes]
    first = next((linear for linear in linears if linear is not None), None)
    if first is None or first.group is None or not sketch.named_once(node):
        return None
    channels = first.stored.shape[1] * first.group
    kernels = [kernel_of(sketch, branch, channels, first.axes - 2) for branch in branches]
    whole = [kernel for kernel in kernels if kernel is not None]
    coefficients = list(node.layer.eltwise_param.coeff) or [1.0] * len(branches)
    if len(whole) != len(coefficients):
        return None
    return summed(whole, coefficients)


def _layer(eltwise: caffe_pb2.LayerParameter, kind: str, bottom: str, kernel: Kernel) -> caffe_pb2.LayerParameter:
    """The message of the convolution."""
    layer = caffe_pb2.LayerParameter(name=eltwise.name, type=kind, bottom=[bottom], top=eltwise.top)
    layer.loss_weight.extend(eltwise.loss_weight)
    param = layer.convolution_param
    param.num_output = len(kernel.bias)
    param.kernel_size.extend(_briefly(kernel.size))
    stated = (("pad", kernel.pad, 0), ("stride", kernel.stride, 1), ("dilation", kernel.dilation, 1))
    for name, values, default in stated:
        if any(value != default for value in values):
            getattr(param, name).extend(_briefly(values))
    if kernel.group > 1:
        param.group = kernel.group
    return layer


def _briefly(values: Sequence[int]) -> Sequence[int]:
    """One value for all axes if they have the same."""
    return values[:1] if len(set(values)) == 1 else values
