"""The trunk of a net as an ONNX model, for the engines that read one."""

from __future__ import annotations

from onnx import ModelProto

from caffecompat.export.onnx.axes import find_axes
from caffecompat.export.onnx.building import build_model
from caffecompat.export.onnx.options import OPSET
from caffecompat.export.onnx.writing import model_proto
from caffecompat.net import Net


def float_model(trunk: Net, *, dynamic_batch: bool = False) -> ModelProto:
    """The trunk in float32, of the shapes that it was built for.

    Args:
        trunk: the net.
        dynamic_batch: let the number of images vary, if the net allows.

    Raises:
        UnsupportedError: a layer has no form in ONNX; it names the layer.
    """
    axes = find_axes(trunk, dynamic_batch=dynamic_batch, dynamic_size=False)
    model = build_model(trunk, axes, opset=OPSET, half=False)
    return model_proto(model, trunk.graph.name, {})
