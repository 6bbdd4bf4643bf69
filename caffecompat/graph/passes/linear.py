"""Layers with a weight, and constants taken up by it: those of the layer after, and those of the layer before."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from caffecompat.graph.analysis import by_axis
from caffecompat.graph.passes.affine import Affine
from caffecompat.graph.passes.sketch import Doubles, Floats, Node, Sketch
from caffecompat.schema import caffe_pb2

CONVOLUTIONS = ("Convolution", "DepthwiseConvolution", "ConvolutionDepthwise")
LINEAR = (*CONVOLUTIONS, "Deconvolution", "InnerProduct")


@dataclass(frozen=True)
class Linear:
    """A layer of one bottom, its channels on axis 1, with the parameters that it has.

    Attributes:
        node: the layer.
        stored: the weight as Caffe has it, but an InnerProduct's always (outputs, inputs).
        bias: (outputs,), zeros if it has none.
        outputs: how many channels it gives.
        group: in how many groups; None for a depthwise layer that does not say.
        biased: whether it has a bias.
    """

    node: Node
    stored: Floats
    bias: Doubles
    outputs: int
    group: int | None
    biased: bool

    @property
    def axes(self) -> int:
        """The number of axes of its top."""
        return self.stored.ndim

    @property
    def weight(self) -> Doubles:
        """The weight in float64: made when it is asked for, as it may be large."""
        return np.asarray(self.stored, np.float64)

    @property
    def pad(self) -> list[int]:
        """The padding along each spatial axis; none of an InnerProduct."""
        spatial = self.stored.ndim - 2
        return by_axis(self.node.layer.convolution_param, "pad", 0, spatial) if spatial else []

    @np.errstate(all="ignore")
    def after(self, affine: Affine) -> tuple[Doubles, Doubles] | None:
        """Weight and bias of the layer with `affine` behind it, or None if that has other channels."""
        whole = affine.over(self.outputs)
        if whole is None:
            return None
        weight, bias = self.weight, self.bias * whole.scale + whole.shift
        if self.node.type != "Deconvolution":
            return weight * _spread(whole.scale, weight.ndim - 1), bias
        # (channels, outputs / group, ...): the outputs of each group lie behind the channels that they read.
        grouped = weight.reshape(self.group or 1, -1, *weight.shape[1:])
        scale = _spread(whole.scale.reshape(self.group or 1, 1, -1), weight.ndim - 2)
        return (grouped * scale).reshape(weight.shape), bias

    @np.errstate(all="ignore")
    def behind(self, affine: Affine) -> tuple[Doubles, Doubles] | None:
        """Weight and bias of the layer with `affine` before it, or None where they are not the same for each place.

        What is added before a convolution does not reach its padding, and reaches the border of a Deconvolution's top
        through fewer weights than its middle.
        """
        if affine.shifts and (self.node.type == "Deconvolution" or any(self.pad)):
            return None
        if self.node.type == "InnerProduct":
            return self._inner_product_behind(affine)
        weight = self.weight
        if self.node.type == "Deconvolution":
            whole = affine.over(len(weight))
            return None if whole is None else (weight * _spread(whole.scale, weight.ndim - 1), self.bias)
        group = self.group or max(affine.scale.size, affine.shift.size)
        width = weight.shape[1]
        whole = affine.over(group * width)
        if whole is None or self.outputs % group:
            return None
        # (outputs, width): what the weights of each output read, by its group.
        scale, shift = (
            np.repeat(values.reshape(group, width), self.outputs // group, axis=0)
            for values in (whole.scale, whole.shift)
        )
        sums = weight.reshape(self.outputs, width, -1).sum(2)
        return weight * _spread(scale, weight.ndim - 2), self.bias + (sums * shift).sum(1)

    def _inner_product_behind(self, affine: Affine) -> tuple[Doubles, Doubles] | None:
        channels = max(affine.scale.size, affine.shift.size)
        whole = affine.over(channels)
        if whole is None or self.stored.shape[1] % channels:
            return None
        weight = self.weight.reshape(self.outputs, channels, -1)
        bias = self.bias + weight.sum(2) @ whole.shift
        return (weight * whole.scale[:, None]).reshape(self.stored.shape), bias

    def arrays(self, weight: Doubles, bias: Doubles) -> list[Floats] | None:
        """The blobs of the layer with another weight and bias, or None if float32 cannot hold them."""
        if self.node.type == "InnerProduct" and self.node.layer.inner_product_param.transpose:
            weight = weight.T
        return as_floats([weight, bias] if self.biased or np.any(bias) else [weight])


def linear_of(sketch: Sketch, node: Node) -> Linear | None:
    """The layer with its weight, if it is one with one bottom, its channels on axis 1, and parameters of its own."""
    blobs = sketch.blobs.get(node.layer.name, [])
    if node.type not in LINEAR or not node.plain or not sketch.named_once(node) or not blobs:
        return None
    weight = blobs[0]
    if node.type == "InnerProduct":
        param = node.layer.inner_product_param
        weight = weight.T if param.transpose else weight
        outputs, group = len(weight), 1
        on_axis_1 = param.axis == 1
    else:
        convolution = node.layer.convolution_param
        group = convolution.group
        outputs = weight.shape[1] * group if node.type == "Deconvolution" else len(weight)
        on_axis_1 = convolution.axis == 1 and weight.ndim > 2
    if not on_axis_1:
        return None
    depthwise = node.type in CONVOLUTIONS[1:] and group == 1
    bias = np.asarray(blobs[1], np.float64) if len(blobs) > 1 else np.zeros(outputs)
    return Linear(node, weight, bias, outputs, None if depthwise else group, len(blobs) > 1)


@np.errstate(all="ignore")
def as_floats(arrays: Iterable[Doubles]) -> list[Floats] | None:
    """Arrays as they are stored, or None if float32 cannot hold them."""
    stored = [np.ascontiguousarray(values, np.float32) for values in arrays]
    return stored if all(np.isfinite(array).all() for array in stored) else None


def take_up(sketch: Sketch, linear: Linear, blobs: list[Floats]) -> None:
    """Give a layer the blobs that `Linear.arrays` made; its message says that it has a bias if it has one now."""
    layer = linear.node.layer
    sketch.blobs[layer.name] = blobs
    if len(blobs) > 1:
        param = layer.inner_product_param if linear.node.type == "InnerProduct" else layer.convolution_param
        param.ClearField("bias_term")


def dilation_of(layer: caffe_pb2.LayerParameter, axes: int) -> list[int]:
    """The dilation of a convolution along each spatial axis, which nets of DeepLab v1 state as hole."""
    param = layer.convolution_param
    if param.HasField("hole_h") or param.HasField("hole_w"):
        return [param.hole_h, param.hole_w]
    return [param.hole] * axes if param.HasField("hole") else by_axis(param, "dilation", 1, axes)


def _spread(values: Doubles, axes: int) -> Doubles:
    """Values with so many axes of 1 behind theirs."""
    return values.reshape(*values.shape, *[1] * axes)
