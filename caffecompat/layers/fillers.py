"""Fillers: how parameters begin where no weight file gives them."""

from __future__ import annotations

from torch import Tensor

from caffecompat.graph.spec import LayerSpec
from caffecompat.schema import caffe_pb2


def fill(blob: Tensor, filler: caffe_pb2.FillerParameter | float, spec: LayerSpec) -> None:
    """Fill `blob` (float32, any shape) in place by `filler`, or with a constant.

    Raises:
        SchemaError: there is no such filler.
    """
    if isinstance(filler, float):
        blob.fill_(filler)
        return
    raise NotImplementedError
