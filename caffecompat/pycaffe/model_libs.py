"""`caffe.model_libs` of the SSD branch: builders of data layers, bodies and heads of nets, by their old names.

Scripts begin with `from caffe.model_libs import *`, and take `caffe`, `L`, `P`, `caffe_pb2` and `os` from here as well.
"""

import os

from caffecompat import pycaffe as caffe
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.pycaffe._model_libs.blocks import ConvBNLayer, InceptionTower, ResBody, UnpackVariable
from caffecompat.pycaffe._model_libs.data import CreateAnnotatedDataLayer
from caffecompat.pycaffe._model_libs.inception import InceptionV3Body
from caffecompat.pycaffe._model_libs.multibox_head import CreateMultiBoxHead
from caffecompat.pycaffe._model_libs.plain import VGGNetBody, ZFNetBody
from caffecompat.pycaffe._model_libs.resnet import ResNet101Body, ResNet152Body
from caffecompat.schema import caffe_pb2

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
