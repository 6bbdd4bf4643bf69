"""VGG-16, a classifier, becomes the dilated front end that semantic segmentation is trained from.

pool4 and pool5 go; the convolutions behind pool4 get a dilation of 2, and fc6, which becomes a 7x7 convolution, one of
4; fc7 becomes a 1x1 convolution. Nothing is padded any more: what surrounds the picture is for the caller to give, as
the authors do by mirroring 186 values at each side. fc8 and what follows goes, and with `classes` a 1x1 convolution,
"final", with so many outputs, to be trained, takes its place. There is an output for every 8th value of the picture.
The layers keep their names, so that the weights fit the authors' train_net.prototxt:

    caffecompat convert VGG_ILSVRC_16_layers_deploy.prototxt --weights VGG_ILSVRC_16_layers.caffemodel \
        --recipe vgg_to_frontend -o vgg_conv.caffemodel

Source: Yu and Koltun: Multi-Scale Context Aggregation by Dilated Convolutions, ICLR 2016, section 4: the last two
pooling layers are removed, the convolutions behind each of them dilated by a factor of 2, and the padding of
intermediate maps is left out; and the net definitions published with it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from caffecompat.data.preprocessing import Preprocessing, Segmentation
from caffecompat.errors import ShapeError, UnsupportedError, UsageError, quoted
from caffecompat.formats.parsed import Parsed
from caffecompat.graph import build_graph
from caffecompat.net import Net
from caffecompat.schema import caffe_pb2

Blobs = dict[str, list[npt.NDArray[np.float32]]]
POOLS = ("pool4", "pool5")
FIRST, SECOND, FINAL = "fc6", "fc7", "final"
ZOOM, MARGIN = 8, 186


def convert(
    net: caffe_pb2.NetParameter, weights: Blobs, size: str = "900", classes: str = ""
) -> tuple[caffe_pb2.NetParameter, Blobs]:
    """Remove pool4 and pool5, dilate what follows them, and make convolutions of fc6 and fc7.

    Args:
        net: VGG-16 or VGG-19 with its layers pool4, pool5, fc6 and fc7.
        weights: the blobs of each layer by its name.
        size: the height and width of the new net's picture; the published nets have 900.
        classes: how many outputs "final" is to have; "" for no such layer.

    Raises:
        UsageError: an option is no number, or the picture is too small.
        UnsupportedError: the net has no such layers.
    """
    side, outputs = _number("size", size), _number("classes", classes) if classes else 0
    made = caffe_pb2.NetParameter()
    made.CopyFrom(net)
    layers = {layer.name: layer for layer in made.layer}
    kinds = {**dict.fromkeys(POOLS, "Pooling"), FIRST: "InnerProduct", SECOND: "InnerProduct"}
    for name, kind in kinds.items():
        if name not in layers or layers[name].type != kind:
            raise UnsupportedError(f"expected a layer {quoted(name)} of type {kind}, as VGG-16 has")
    shapes = {FIRST: _shape(net, layers[FIRST].bottom[0])}
    shapes[SECOND] = (layers[FIRST].inner_product_param.num_output, 1, 1)
    end = _after_second(made)
    gone = {layer.name for layer in made.layer[end:]}
    del made.layer[end:]
    blobs = {name: arrays for name, arrays in weights.items() if name not in gone}
    for name, shape in shapes.items():
        turned = blobs[name][0].T if layers[name].inner_product_param.transpose else blobs[name][0]
        blobs[name] = [turned.reshape(-1, *shape), *blobs[name][1:]]
        _convolve(layers[name], shape)
    _dilate(made)
    if outputs:
        _add_final(made, outputs)
    _resize(made, side)
    return made, blobs


def preprocessing(record: Preprocessing) -> Preprocessing:
    """The record of the new net: a picture of any size, and what a net that labels pixels needs."""
    mean = record.mean
    if record.mean_image is not None:
        mean = tuple(float(value) for value in record.mean_image.mean((1, 2)))
    labelling = Segmentation(zoom=ZOOM, label_margin=MARGIN)
    return replace(record, mean=mean, mean_image=None, size=None, crop=None, labels=(), segmentation=labelling)


def _number(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"expected a number from 1 as {name}, got {quoted(text)}")
    return int(text)


def _shape(net: caffe_pb2.NetParameter, blob: str) -> tuple[int, int, int]:
    """(channels, height, width) of a blob that is a map."""
    graph = build_graph(Parsed(net))
    shape = Net(graph).blob_shapes[graph.last[blob]]
    if len(shape) != 4:
        raise UnsupportedError(f"expected {FIRST} to read a map of four axes, got {shape}")
    return shape[1], shape[2], shape[3]


def _after_second(net: caffe_pb2.NetParameter) -> int:
    """The index after fc7 and what works on its top in place."""
    last = [layer.name for layer in net.layer].index(SECOND)
    tops = list(net.layer[last].top)
    return max(index for index, layer in enumerate(net.layer) if index == last or list(layer.top) == tops) + 1


def _convolve(layer: caffe_pb2.LayerParameter, shape: tuple[int, int, int]) -> None:
    """Make a convolution of an inner product over a map of this shape."""
    old, new = layer.inner_product_param, layer.convolution_param
    new.num_output = old.num_output
    if not old.bias_term:
        new.bias_term = False
    new.kernel_size.extend(shape[1:] if shape[1] != shape[2] else shape[1:2])
    layer.ClearField("inner_product_param")
    layer.type = "Convolution"


def _dilate(net: caffe_pb2.NetParameter) -> None:
    """Take the two pooling layers out, dilate the convolutions behind by as much, and pad none."""
    dilation = 1
    read_instead: dict[str, str] = {}
    kept = []
    for layer in net.layer:
        layer.bottom[:] = [read_instead.get(name, name) for name in layer.bottom]
        if layer.name in POOLS:
            read_instead[layer.top[0]] = layer.bottom[0]
            dilation *= 2
            continue
        kept.append(layer)
        param = layer.convolution_param
        if layer.type == "Convolution":
            for pad in ("pad", "pad_h", "pad_w"):
                param.ClearField(pad)
            if dilation > 1 and max(param.kernel_size, default=1) > 1:
                param.dilation[:] = [dilation]
    layers = [caffe_pb2.LayerParameter.FromString(layer.SerializeToString()) for layer in kept]
    del net.layer[:]
    net.layer.extend(layers)


def _add_final(net: caffe_pb2.NetParameter, outputs: int) -> None:
    layer = net.layer.add(name=FINAL, type="Convolution", bottom=[net.layer[-1].top[0]], top=[FINAL])
    param = layer.convolution_param
    param.num_output = outputs
    param.kernel_size.append(1)
    param.weight_filler.type, param.weight_filler.std = "gaussian", 0.001


def _resize(net: caffe_pb2.NetParameter, side: int) -> None:
    """Let the net's picture be one of this size."""
    for layer in net.layer:
        for shape in layer.input_param.shape:
            shape.dim[:] = [1, shape.dim[1], side, side]
    try:
        Net(build_graph(Parsed(net)))
    except ShapeError as error:
        raise UsageError(f"a picture of {side} is too small: {error.message}", layer=error.layer) from error
