"""From a Net back to its NetParameter and blobs, for whatever writes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from caffecompat.graph.builder import net_of
from caffecompat.net.net import Net
from caffecompat.schema import caffe_pb2


def net_message(net: Net) -> caffe_pb2.NetParameter:
    """The NetParameter whose layers are exactly the net's, its inputs of the shapes that it was built for.

    The rules that chose the layers of its phase are gone.
    """
    graph = net.graph
    message = net_of(graph.message, ())
    message.ClearField("state")
    for spec in graph.layers:
        layer = message.layer.add()
        layer.CopyFrom(spec.message)
        for rule in ("include", "exclude", "blobs"):
            layer.ClearField(rule)
        if spec.type == "Input":
            layer.input_param.Clear()
            for key in spec.tops:
                layer.input_param.shape.add(dim=net.blob_shapes[key])
    return message


def net_blobs(net: Net) -> list[list[npt.NDArray[np.float32]]]:
    """The parameters of each layer, in Caffe's order, float32 on the CPU; not copied where they are that already."""
    return [[blob.detach().cpu().float().numpy() for blob in layer.blobs] for layer in net.layers]


def net_diffs(net: Net) -> list[list[npt.NDArray[np.float32]]]:
    """The gradients of the parameters of each layer, as `net_blobs`: zeros where there is none."""
    diffs = []
    for layer in net.layers:
        own = []
        for index, blob in enumerate(layer.blobs):
            owner = layer.spec.param(index).owner
            source = blob if owner is None else net.layers[owner[0]].blobs[owner[1]]
            diff = torch.zeros_like(blob) if source.grad is None else source.grad.view(blob.shape)
            own.append(diff.detach().cpu().float().numpy())
        diffs.append(own)
    return diffs
