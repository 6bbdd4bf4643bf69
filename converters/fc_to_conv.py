"""Fully-connected layers become convolutions: the net then takes larger pictures and gives a map of outputs.

The first fully-connected layer becomes a convolution whose kernel covers its whole input, the others become 1x1
convolutions; the values of the weights stay as they are. At the old input size the outputs are the same, with two
more axes of size 1. The layers get new names (fc6 -> fc6-conv), because a file with the old weights would no longer
fit them; the blobs keep theirs. Give another input size with `--input-shape` when the result is loaded.

Source: Caffe's example "Net Surgery" (examples/net_surgery.ipynb); Long, Shelhamer, Darrell: Fully Convolutional
Networks for Semantic Segmentation, CVPR 2015.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from caffecompat.errors import UnsupportedError
from caffecompat.formats.parsed import Parsed
from caffecompat.graph import build_graph
from caffecompat.net import Net
from caffecompat.schema import caffe_pb2

Blobs = dict[str, list[npt.NDArray[np.float32]]]
# Layers that give a map for a map and keep its values apart, whatever its height and width.
POINTWISE = {
    *("AbsVal", "BNLL", "BatchNorm", "Bias", "Clip", "Concat", "Dropout", "ELU", "Eltwise", "Exp", "Log", "PReLU"),
    *("Power", "ReLU", "Scale", "Sigmoid", "Slice", "Softmax", "Split", "Swish", "TanH", "Threshold"),
}


def convert(net: caffe_pb2.NetParameter, weights: Blobs, suffix: str = "-conv") -> tuple[caffe_pb2.NetParameter, Blobs]:
    """Make a convolution of every InnerProduct layer.

    Args:
        net: a net with the shapes of its inputs.
        weights: the blobs of each layer by its name.
        suffix: what the names of the changed layers end in.

    Raises:
        UnsupportedError: no layer can be changed, or one reads what is no map (after a Flatten, say).
    """
    built = Net(build_graph(Parsed(net)))
    made = caffe_pb2.NetParameter()
    made.CopyFrom(net)
    blobs = dict(weights)
    maps: set[str] = set()  # blobs of two axes that have become maps
    changed = 0
    for layer, spec in zip(made.layer, built.graph.layers, strict=True):
        if layer.type == "InnerProduct":
            shape = built.blob_shapes[spec.bottoms[0]]
            if len(shape) == 2 and layer.bottom[0] in maps:
                shape = (*shape, 1, 1)
            if len(shape) != 4 or layer.inner_product_param.axis not in (1, -3):
                raise spec.error(
                    f"expected a bottom of four axes, flattened from axis 1, got {shape}", kind=UnsupportedError
                )
            blobs[layer.name + suffix] = _kernels(layer, blobs.pop(layer.name), shape)
            _become_convolution(layer, shape, suffix)
            maps.update(layer.top)
            changed += 1
        elif layer.bottom and layer.type in POINTWISE and all(bottom in maps for bottom in layer.bottom):
            maps.update(layer.top)
    if not changed:
        raise UnsupportedError("the net has no InnerProduct layer to make a convolution of")
    return made, blobs


def _kernels(
    layer: caffe_pb2.LayerParameter, blobs: list[npt.NDArray[np.float32]], shape: tuple[int, ...]
) -> list[npt.NDArray[np.float32]]:
    """The blobs with the weight as (outputs, channels, height, width)."""
    weight = blobs[0].T if layer.inner_product_param.transpose else blobs[0]
    return [weight.reshape(-1, *shape[1:]), *blobs[1:]]


def _become_convolution(layer: caffe_pb2.LayerParameter, shape: tuple[int, ...], suffix: str) -> None:
    old = layer.inner_product_param
    new = layer.convolution_param
    new.num_output = old.num_output
    if not old.bias_term:
        new.bias_term = False
    if shape[2] == shape[3]:
        new.kernel_size.append(shape[2])
    else:
        new.kernel_h, new.kernel_w = shape[2:]
    for filler in ("weight_filler", "bias_filler"):
        if old.HasField(filler):
            getattr(new, filler).CopyFrom(getattr(old, filler))
    layer.ClearField("inner_product_param")
    layer.type = "Convolution"
    layer.name += suffix
