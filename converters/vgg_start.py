"""VGG's net A as what deeper nets start from: its first four convolutions and its fully connected layers.

    caffecompat convert vgg-a/deploy.prototxt --weights vgg-a.caffemodel --recipe vgg_start -o vgg-a-start.caffemodel
    caffecompat train vgg-d/solver.prototxt --weights vgg-a-start.caffemodel

A net takes weights by the names of layers. Those keep theirs; the others of net A get names that the deeper nets do not
have, and are left to their fillers there.

Source: Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015,
section 3.1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from caffecompat.errors import UnsupportedError
from caffecompat.schema import caffe_pb2

Blobs = dict[str, list[npt.NDArray[np.float32]]]
KEPT = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8")


def convert(net: caffe_pb2.NetParameter, weights: Blobs) -> tuple[caffe_pb2.NetParameter, Blobs]:
    """Give other names to all layers but those that deeper nets begin with.

    Args:
        net: VGG's configuration A, with or without LRN.
        weights: the blobs of each layer by its name.

    Raises:
        UnsupportedError: the net is another one.
    """
    missing = [name for name in KEPT if not weights.get(name)]
    if missing:
        raise UnsupportedError(
            f"expected weights of the layers {', '.join(KEPT)}; there are none of {', '.join(missing)}",
            hint="`caffecompat new vgg-a` names the layers so",
        )
    made = caffe_pb2.NetParameter()
    made.CopyFrom(net)
    for layer in made.layer:
        layer.name = _renamed(layer.name)
    return made, {_renamed(name): blobs for name, blobs in weights.items()}


def _renamed(name: str) -> str:
    return name if name in KEPT else f"vgg_a_{name}"
