"""FlowWarp, Correlation, Resize and Resample."""

from __future__ import annotations

import math

from caffecompat.export.source.registry import Site, writes
from caffecompat.export.source.text import literal
from caffecompat.layers.flow import Correlation, FlowWarp
from caffecompat.layers.resampling import Resample, Resize
from caffecompat.schema import caffe_pb2

Param = caffe_pb2.ResampleParameter


@writes(FlowWarp)
def flow_warp(layer: FlowWarp, at: Site) -> None:
    zero = layer.spec.message.flow_warp_param.fill_value == caffe_pb2.FlowWarpParameter.ZERO
    beyond = "" if zero else f", {literal(math.nan)}"
    at.function("warp", f"flow_warp({{0}}, {{1}}{beyond})", operators=["flow_warp"])


@writes(Correlation)
def correlation(layer: Correlation, at: Site) -> None:
    param = layer.spec.message.correlation_param
    texts = [f"kernel={param.kernel_size}", f"reach={param.max_displacement}"]
    for name, value, default in (
        ("stride", param.stride_1, 1),
        ("step", param.stride_2, 1),
        ("pad", param.pad, 0),
        ("subtract", param.correlation_type == caffe_pb2.CorrelationParameter.SUBTRACT, False),
    ):
        if value != default:
            texts.append(f"{name}={literal(value)}")
    at.function("correlation", f"correlation({{0}}, {{1}}, {', '.join(texts)})", operators=["correlation"])


@writes(Resize)
def resize(layer: Resize, at: Site) -> None:
    param = layer.spec.message.resize_param
    if param.is_pyramid_test:
        # All digits: the product is cut to a whole number.
        scales = (param.out_height_scale, param.out_width_scale)
        size = ", ".join(f"int({{0}}.shape[{axis}] * {scale!r})" for axis, scale in enumerate(scales, 2))
    else:
        size = f"{param.height}, {param.width}"
    at.function("resize", f"resize({{0}}, ({size}))", operators=["resize"])


@writes(Resample)
def resample(layer: Resample, at: Site) -> None:
    param = layer.spec.message.resample_param
    size = "{1}.shape[2:]" if len(at.bottoms) > 1 else f"({param.height}, {param.width})"
    if param.type == Param.NEAREST:
        at.function("resample", f"resample_nearest({{0}}, {size})", operators=["resample_nearest"])
        return
    texts = ["{0}", size]
    if param.type == Param.CUBIC:
        texts.append("cubic=True")
    if not param.antialias:
        texts.append("antialias=False")
    at.function("resample", f"resample({', '.join(texts)})", operators=["resample"])
