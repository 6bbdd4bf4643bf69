"""VGG-16, a classifier, becomes the reduced net with holes that SSD and DeepLab are trained from.

pool5 stays as large as its input, fc6 becomes a dilated 3x3 convolution, fc7 a 1x1 convolution, both of fewer outputs;
what follows fc7 goes. Of the 4,096 outputs of fc6 and fc7 every fourth is kept, and of fc6's 7x7 places every third in
both directions. The layers keep their names, so that the weights fit SSD's train.prototxt:

    caffecompat convert VGG_ILSVRC_16_layers_deploy.prototxt --weights VGG_ILSVRC_16_layers.caffemodel \
        --recipe vgg_reduced -o VGG_ILSVRC_16_layers_fc_reduced.caffemodel

Source: Liu et al.: SSD: Single Shot MultiBox Detector, ECCV 2016, section 3 ("we convert fc6 and fc7 to convolutional
layers, subsample parameters from fc6 and fc7, change pool5 from 2x2-s2 to 3x3-s1, and use the a trous algorithm");
Chen et al.: Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs, ICLR 2015. The authors
published the result and not which parameters they took; a regular grid is what reimplementations take.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from caffecompat.errors import UnsupportedError, UsageError, quoted
from caffecompat.formats.parsed import Parsed
from caffecompat.graph import build_graph
from caffecompat.net import Net
from caffecompat.schema import caffe_pb2

Blobs = dict[str, list[npt.NDArray[np.float32]]]
POOL, FIRST, SECOND = "pool5", "fc6", "fc7"


def convert(
    net: caffe_pb2.NetParameter, weights: Blobs, outputs: str = "1024", kernel: str = "3", dilation: str = "6"
) -> tuple[caffe_pb2.NetParameter, Blobs]:
    """Reduce fc6 and fc7 and make convolutions of them.

    Args:
        net: VGG-16 or VGG-19 with its layers pool5, fc6 and fc7.
        weights: the blobs of each layer by its name.
        outputs: how many outputs fc6 and fc7 are to have.
        kernel: the height and width of fc6's kernel.
        dilation: its dilation.

    Raises:
        UsageError: an option is no number, or larger than what is there.
        UnsupportedError: the net has no such layers.
    """
    kept, size, holes = _number("outputs", outputs), _number("kernel", kernel), _number("dilation", dilation)
    made = caffe_pb2.NetParameter()
    made.CopyFrom(net)
    layers = {layer.name: layer for layer in made.layer}
    for name, kind in ((POOL, "Pooling"), (FIRST, "InnerProduct"), (SECOND, "InnerProduct")):
        if name not in layers or layers[name].type != kind:
            raise UnsupportedError(f"expected a layer {quoted(name)} of type {kind}, as VGG-16 has")
    channels, height, width = _shape(net, layers[FIRST].bottom[0])
    end = _after_second(made)
    blobs = {name: arrays for name, arrays in weights.items() if name not in {gone.name for gone in made.layer[end:]}}
    del made.layer[end:]
    first, second = weights[FIRST], weights[SECOND]
    outputs_kept = _grid(first[0].shape[0], kept, "outputs"), _grid(second[0].shape[0], kept, "outputs")
    places = _grid(height, size, "kernel"), _grid(width, size, "kernel")
    kernels = first[0].reshape(-1, channels, height, width)
    blobs[FIRST] = [
        kernels[np.ix_(outputs_kept[0], np.arange(channels), *places)],
        *(bias[outputs_kept[0]] for bias in first[1:]),
    ]
    blobs[SECOND] = [
        second[0][np.ix_(outputs_kept[1], outputs_kept[0])][:, :, None, None],
        *(bias[outputs_kept[1]] for bias in second[1:]),
    ]
    _keep_size(layers[POOL])
    _convolve(layers[FIRST], kept, size, holes)
    _convolve(layers[SECOND], kept, 1, 1)
    return made, blobs


def _shape(net: caffe_pb2.NetParameter, blob: str) -> tuple[int, int, int]:
    """(channels, height, width) of a blob that is a map."""
    graph = build_graph(Parsed(net))
    shape = Net(graph).blob_shapes[graph.last[blob]]
    if len(shape) != 4:
        raise UnsupportedError(f"expected fc6 to read a map of four axes, got {shape}")
    return shape[1], shape[2], shape[3]


def _number(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise UsageError(f"expected a number from 1 as {name}, got {quoted(text)}")
    return int(text)


def _grid(available: int, wanted: int, name: str) -> npt.NDArray[np.int64]:
    """Which of the places are kept: as far apart as they can be, the first of them included."""
    if wanted > available:
        raise UsageError(f"expected {name} of at most {available}, got {wanted}")
    whole = available % wanted == 0
    return np.arange(wanted) * (available // wanted if whole else (available - 1) // max(wanted - 1, 1))


def _after_second(net: caffe_pb2.NetParameter) -> int:
    """The index after fc7 and what works on its top in place."""
    last = [layer.name for layer in net.layer].index(SECOND)
    tops = list(net.layer[last].top)
    return max(index for index, layer in enumerate(net.layer) if index == last or list(layer.top) == tops) + 1


def _keep_size(pool: caffe_pb2.LayerParameter) -> None:
    """A window of 3 at every place."""
    param = pool.pooling_param
    param.kernel_size, param.stride, param.pad = 3, 1, 1


def _convolve(layer: caffe_pb2.LayerParameter, outputs: int, kernel: int, dilation: int) -> None:
    layer.type = "Convolution"
    layer.ClearField("inner_product_param")
    param = layer.convolution_param
    param.num_output = outputs
    param.kernel_size.append(kernel)
    if kernel > 1:
        param.pad.append(dilation * (kernel - 1) // 2)
        param.dilation.append(dilation)
