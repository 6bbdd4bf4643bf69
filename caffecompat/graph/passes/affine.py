"""Layers that multiply each channel by a constant and add another, and what they come to at test time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from caffecompat.graph.passes.sketch import Doubles, Floats, Node, Sketch
from caffecompat.schema import caffe_pb2

# NVIDIA's BatchNorm never takes a smaller eps.
LEAST_EPS = 1e-5


@dataclass(frozen=True)
class Affine:
    """scale * x + shift, float64: (channels,) along axis 1, or () for all values alike."""

    scale: Doubles
    shift: Doubles

    @property
    def shifts(self) -> bool:
        """Whether it adds anything."""
        return bool(np.any(self.shift))

    def over(self, channels: int) -> Affine | None:
        """The same with a value for each channel, or None if it is for another number of them."""
        if {self.scale.shape, self.shift.shape} - {(), (channels,)}:
            return None
        scale, shift = (np.broadcast_to(values, (channels,)) for values in (self.scale, self.shift))
        return Affine(scale, shift)

    @np.errstate(all="ignore")
    def then(self, other: Affine) -> Affine | None:
        """What both do, `other` behind this; None if they are for other numbers of channels."""
        shapes = {values.shape for values in (self.scale, self.shift, other.scale, other.shift)} - {()}
        if len(shapes) > 1:
            return None
        return Affine(self.scale * other.scale, self.shift * other.scale + other.shift)


def affine_of(sketch: Sketch, node: Node, axes: int) -> Affine | None:
    """What a layer does, if it is no more than that and its parameters are its own.

    Args:
        sketch: the net.
        node: the layer.
        axes: the number of axes of its bottom.

    Returns:
        None for other layers, for a BatchNorm that takes the statistics of the batch, for shared parameters, for a
        layer whose top is a loss, and where a value is not finite.
    """
    if not node.plain or not sketch.named_once(node) or any(node.spec.loss_weights):
        return None
    found = _of_type(node, sketch.blobs.get(node.layer.name, []), axes)
    finite = found is not None and np.isfinite(found.scale).all() and np.isfinite(found.shift).all()
    return found if finite else None


def _of_type(node: Node, blobs: list[Floats], axes: int) -> Affine | None:
    wide = [np.asarray(blob, np.float64) for blob in blobs]
    if node.type == "BatchNorm":
        return _batch_norm(node, wide)
    if node.type == "BN":
        return _bn(node, wide)
    if node.type == "Power":
        param = node.layer.power_param
        values = (np.float64(param.scale), np.float64(param.shift))
        return Affine(np.asarray(values[0]), np.asarray(values[1])) if param.power == 1 and param.scale else None
    if node.type == "Scale" and wide and _by_channel(node.layer.scale_param, wide, axes):
        return Affine(wide[0], wide[1] if len(wide) > 1 else np.zeros(()))
    if node.type == "Bias" and wide and _by_channel(node.layer.bias_param, wide, axes):
        return Affine(np.ones(()), wide[0])
    return None


def _by_channel(param: caffe_pb2.ScaleParameter | caffe_pb2.BiasParameter, blobs: list[Doubles], axes: int) -> bool:
    """Whether the blobs are one value, or one for each channel on axis 1."""
    return blobs[0].ndim == 0 or (blobs[0].ndim == 1 and param.axis in (1, 1 - axes))


def _batch_norm(node: Node, blobs: list[Doubles]) -> Affine | None:
    param = node.layer.batch_norm_param
    kept = node.spec.phase == "TEST"
    if len(blobs) == 5 and (kept or param.use_global_stats):
        mean, variance, _, weight, bias = blobs
        return _normalization(mean, variance, max(param.eps, LEAST_EPS), weight, bias)
    if len(blobs) == 3 and (param.use_global_stats if param.HasField("use_global_stats") else kept):
        mean, variance, factor = blobs
        divisor = factor[0] or np.inf
        return _normalization(mean / divisor, variance / divisor, param.eps, np.ones(()), np.zeros(()))
    return None


def _bn(node: Node, blobs: list[Doubles]) -> Affine | None:
    param = node.layer.bn_param
    flat = [blob.ravel() for blob in blobs]
    if len(flat) == 4 and (node.spec.phase == "TEST" or param.frozen):
        weight, bias, mean, variance = flat
        return _normalization(mean, variance, param.eps, weight, bias)
    if len(flat) == 2 and param.bn_mode == caffe_pb2.BNParameter.INFERENCE:
        return Affine(flat[0], flat[1])
    return None


@np.errstate(all="ignore")
def _normalization(mean: Doubles, variance: Doubles, eps: float, weight: Doubles, bias: Doubles) -> Affine:
    scale = weight / np.sqrt(variance + eps)
    return Affine(scale, bias - mean * scale)
