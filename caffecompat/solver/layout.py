"""How a net's blobs lie in memory while it is trained: what is fastest on the CPU, found by measuring.

Values are what they would be otherwise, to the rounding of sums; shapes are Caffe's, and so is the order of values in
whatever is written to a file.
"""

from __future__ import annotations

from collections import Counter
from math import prod

import torch

from caffecompat.layers.base import Layer
from caffecompat.layers.convolution import Convolving
from caffecompat.layers.neurons import ReLU
from caffecompat.net import Net

# Layers that make their top anew and do not need it again when they go backward.
_FORGETFUL = ("Convolution", "Deconvolution", "InnerProduct", "BatchNorm", "Scale", "Bias", "Eltwise", "Pooling")


def plan_layout(net: Net) -> None:
    """Tell the layers of a net how their blobs are to lie; weights are for the caller to move.

    2-D convolutions work with the channels innermost ("channels last"), and pooling and what else follows goes on from
    there: a step takes from 0.6 (LeNet) to 0.95 (AlexNet) of the time. Only where the weights are more than twice as
    many values as bottoms and tops together (VGG's fc6 as a convolution over one image) is Caffe's order faster, by a
    fifth: PyTorch computes the gradients of weights in that order, and turning them costs more than is gained.

    A ReLU that works in place in the prototxt does so here, if nothing else needs what it overwrites: new memory for a
    large blob costs more than the ReLU itself.
    """
    readers = Counter(key for spec in net.graph.layers for key in spec.bottoms)
    free = {
        key
        for spec in net.graph.layers
        if spec.type in _FORGETFUL and not any(spec.loss_weights)
        for key in spec.tops
        if readers[key] == 1
    }
    bent = _in_several_shapes(net)
    for index, layer in enumerate(net.layers):
        if isinstance(layer, Convolving):
            layer.memory_format = None if index in bent else _format_of(layer, net)
        elif isinstance(layer, ReLU):
            bottom, top = layer.spec.bottoms[0], layer.spec.tops[0]
            layer.in_place = bottom.name == top.name and bottom in free


def weight_format(layer: Layer, index: int) -> torch.memory_format:
    """How blob `index` of a layer is to lie in memory."""
    planned = layer.memory_format if isinstance(layer, Convolving) and index == 0 else None
    return planned or torch.contiguous_format


def _format_of(layer: Convolving, net: Net) -> torch.memory_format | None:
    if layer.spatial_axes != 2 or layer.channel_axis != 1:
        return None
    moved = sum(prod(net.blob_shapes[key]) for key in (*layer.spec.bottoms, *layer.spec.tops))
    return torch.contiguous_format if layer.weight.numel() > 2 * moved else torch.channels_last


def _in_several_shapes(net: Net) -> set[int]:
    """The layers with a parameter that two layers see in different shapes: it must lie in Caffe's order."""
    found: set[int] = set()
    for index, layer in enumerate(net.layers):
        for place, ref in enumerate(layer.spec.params):
            if ref.owner is not None and net.layers[ref.owner[0]].blobs[ref.owner[1]].shape != layer.blobs[place].shape:
                found |= {index, ref.owner[0]}
    return found
