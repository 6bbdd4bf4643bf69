"""Nets of the zoo as they are built here: nothing of them is read or computed but shapes."""

from __future__ import annotations

from math import prod

from caffecompat import Net
from caffecompat.formats import parse_net, write_text
from caffecompat.graph import build_graph
from caffecompat.graph.analysis import LayerCost, analyse
from caffecompat.schema import caffe_pb2
from caffecompat.schema.plugins import parameters as parameters_of
from caffecompat.zoo import MODELS, Nets, ask, make

DATA = ("Data", "EpisodeData", "AnnotatedData", "ImageLabelData", "BinLabelData")


def made(name: str, **asked) -> Nets:
    model = MODELS[name]
    return make(model, ask(model, **asked))


def built(message: caffe_pb2.NetParameter, phase: str) -> Net:
    """A net on the meta device, its data layers fed by the caller with what their parameters make of images."""
    message = caffe_pb2.NetParameter.FromString(message.SerializeToString())
    for layer in message.layer:
        if layer.type == "DetectionOutput":
            # A net that is fed writes no results, and says so.
            layer.detection_output_param.ClearField("save_output_param")
    # What a context module gets has as many channels as what it gives.
    last = [layer.convolution_param.num_output for layer in message.layer if layer.type == "Convolution"]
    graph = build_graph(parse_net(write_text(message)), phase)
    shapes = {}
    for spec in graph.layers:
        if spec.type in DATA:
            shapes.update(zip((key.name for key in spec.tops), _tops(spec.message, last[-1]), strict=True))
    return Net(graph, shapes)


def _tops(layer: caffe_pb2.LayerParameter, channels: int) -> list[tuple[int, ...]]:
    """The shapes of a data layer's tops for images of the net's own kind, two of them."""
    crop = layer.transform_param.crop_size
    if layer.type == "Data":
        colours = 1 if layer.name == "mnist" else 3
        side = crop or {"mnist": 28, "cifar": 32}[layer.name]
        return [(2, colours, side, side), (2,)]
    if layer.type == "EpisodeData":
        param = parameters_of(layer, "episode_data_param")
        rows = param.episodes * param.ways * (param.shots + param.queries)
        return [(rows, 3, crop, crop) if crop else (rows, 1, 28, 28), (rows,)]
    if layer.type == "AnnotatedData":
        size = layer.transform_param.resize_param
        return [(2, 3, size.height, size.width), (1, 1, 3, 8)]
    if layer.type == "ImageLabelData":
        return [(2, 3, crop, crop), (2, 1, *layer.image_label_data_param.label_slice.dim)]
    dim = layer.bin_label_data_param.label_slice.dim
    return [(2, channels, *dim), (2, 1, *dim)]


def costs(net: Net) -> list[LayerCost]:
    parameters = [[tuple(blob.shape) for blob in layer.blobs] for layer in net.layers]
    return analyse(net.graph, net.blob_shapes, parameters)


def parameters(net: Net) -> int:
    """Weights as papers count them: what BatchNorm measures is none."""
    return sum(cost.parameters for cost in costs(net) if cost.spec.type != "BatchNorm")


def multiply_adds(net: Net) -> int:
    """Those of convolutions and inner products, as papers count them."""
    return sum(cost.multiply_adds for cost in costs(net) if cost.spec.type in ("Convolution", "InnerProduct"))


def shape(net: Net, name: str) -> tuple[int, ...]:
    """The shape of a blob by the name that it has last."""
    return {key.name: size for key, size in net.blob_shapes.items()}[name]


def values(net: Net, name: str) -> int:
    return prod(shape(net, name))
