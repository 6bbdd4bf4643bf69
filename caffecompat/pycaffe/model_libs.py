"""`caffe.model_libs` of the SSD branch: builders of data layers, bodies and heads of nets, by their old names.

Scripts begin with `from caffe.model_libs import *`, and take `caffe`, `L`, `P`, `caffe_pb2` and `os` from here as well.
"""

import os

from caffecompat import pycaffe as caffe
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import ConvBNLayer, InceptionTower, ResBody, UnpackVariable
from caffecompat.zoo.builders.data import CreateAnnotatedDataLayer
from caffecompat.zoo.builders.inception import InceptionV3Body
from caffecompat.zoo.builders.multibox_head import CreateMultiBoxHead
from caffecompat.zoo.builders.plain import VGGNetBody, ZFNetBody
from caffecompat.zoo.builders.resnet import ResNet101Body, ResNet152Body

__all__ = [
    "ConvBNLayer",
    "CreateAnnotatedDataLayer",
    "CreateMultiBoxHead",
    "InceptionTower",
    "InceptionV3Body",
    "L",
    "P",
    "ResBody",
    "ResNet101Body",
    "ResNet152Body",
    "UnpackVariable",
    "VGGNetBody",
    "ZFNetBody",
    "caffe",
    "caffe_pb2",
    "check_if_exist",
    "make_if_not_exist",
    "os",
]


def check_if_exist(path: str) -> bool:
    """Whether there is such a file or folder."""
    return os.path.exists(path)


def make_if_not_exist(path: str) -> None:
    """Make a folder, and those around it, unless it is there."""
    if not os.path.exists(path):
        os.makedirs(path, exist_ok=True)
