"""`caffe.proto`: the message classes, which are those of `caffecompat.schema`."""

from __future__ import annotations

import sys

from caffecompat.schema import caffe_pb2

__all__ = ["caffe_pb2"]

# The module itself, and not another one beside it: a message made here is one of the schema's.
sys.modules[f"{__name__}.caffe_pb2"] = caffe_pb2
