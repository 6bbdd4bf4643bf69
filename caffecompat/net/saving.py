"""From a Net back to its NetParameter and blobs, for whatever writes them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from caffecompat.graph.builder import net_of
from caffecompat.graph.dialects import DIALECTS
from caffecompat.graph.passes.insert_splits import insert_splits
from caffecompat.graph.spec import LayerSpec
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


def trained_message(net: Net) -> tuple[caffe_pb2.NetParameter, list[int | None]]:
    """The NetParameter that Caffe's snapshots hold, and which layer of the net each of its layers is.

    It has the name and the layers alone, each with its phase, the rules that chose it and the weight of its loss, and
    the Split layers that Caffe puts in, for which there is None. (Caffe: Net::ToProto.)
    """
    plain = caffe_pb2.NetParameter(name=net.graph.message.name)
    for spec in net.graph.layers:
        layer = plain.layer.add()
        layer.CopyFrom(spec.message)
        layer.ClearField("blobs")
        layer.phase = caffe_pb2.TRAIN if spec.phase == "TRAIN" else caffe_pb2.TEST
    message = insert_splits(plain)
    indices: list[int | None] = []
    following = 0
    for layer in message.layer:
        own = following < len(plain.layer) and layer.name == plain.layer[following].name
        indices.append(following if own else None)
        following += own
    for layer, index in zip(message.layer, indices, strict=True):
        if index is not None:
            _set_up(layer, net.graph.layers[index])
    return message, indices


def _set_up(layer: caffe_pb2.LayerParameter, spec: LayerSpec) -> None:
    """State what Caffe's layers add to their message when they are set up."""
    if not layer.loss_weight and any(spec.loss_weights):
        layer.loss_weight.append(1)
    if spec.type == "BatchNorm":
        if DIALECTS[spec.dialect].batch_norm_drops_params and len(layer.param) == 3:
            del layer.param[:]
        for _ in range(3 - len(layer.param)):
            layer.param.add(lr_mult=0)


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
