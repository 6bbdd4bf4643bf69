"""Caffe's schema: the message classes (`caffe_pb2`) and the table of layer types (`types`)."""

from caffecompat.schema import caffe_pb2
from caffecompat.schema.types import LAYER_TYPES, LayerType, layer_type

__all__ = ["LAYER_TYPES", "LayerType", "caffe_pb2", "layer_type"]
