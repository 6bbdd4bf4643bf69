"""Fillers: how parameters begin where no weight file gives them.

They draw from PyTorch's generator (`torch.manual_seed`), so the values are not Caffe's, their distribution is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError, SchemaError, did_you_mean, quoted
from caffecompat.graph.dialects import DIALECTS
from caffecompat.graph.spec import LayerSpec
from caffecompat.schema import caffe_pb2

_LARGEST = float(torch.finfo(torch.float32).max)


def fill(blob: Tensor, filler: caffe_pb2.FillerParameter | float, spec: LayerSpec) -> None:
    """Fill `blob` (float32, any shape) in place by `filler`, or with a constant.

    Raises:
        SchemaError: there is no such filler, or it cannot fill a blob of this shape; it names the layer.
    """
    if isinstance(filler, (int, float)):
        blob.fill_(filler)
        return
    function = _FILLERS.get(filler.type)
    if function is None:
        hint = did_you_mean(filler.type, _FILLERS) or f"fillers: {', '.join(_FILLERS)}"
        raise spec.error(f"unknown filler {quoted(filler.type)}", hint=hint, kind=SchemaError)
    if filler.sparse != -1 and function not in (_gaussian, _identity):
        raise _refusal(spec, filler, "does not know `sparse`", "leave `sparse` out, or use gaussian")
    if blob.numel():
        function(blob, filler, spec)


def _refusal(
    spec: LayerSpec, filler: caffe_pb2.FillerParameter, reason: str, hint: str | None = None
) -> CaffeCompatError:
    return spec.error(f"the {filler.type} filler {reason}", hint=hint, kind=SchemaError)


def _constant(blob: Tensor, filler: caffe_pb2.FillerParameter, spec: LayerSpec) -> None:
    blob.fill_(filler.value)


def _uniform(blob: Tensor, filler: caffe_pb2.FillerParameter, spec: LayerSpec) -> None:
    if not 0 <= filler.max - filler.min <= _LARGEST:
        raise _refusal(spec, filler, f"needs min <= max, got min {filler.min:g}, max {filler.max:g}")
    blob.uniform_(filler.min, filler.max)


def _gaussian(blob: Tensor, filler: caffe_pb2.FillerParameter, spec: LayerSpec) -> None:
    """Normal values; with `sparse`, an output (an entry of the first axis) keeps about that many inputs.

    Caffe: each value is kept with the probability sparse / outputs.
    """
    if not (0 <= filler.std <= _LARGEST and math.isfinite(filler.mean)):
        raise _refusal(spec, filler, f"needs a finite mean and std >= 0, got mean {filler.mean:g}, std {filler.std:g}")
    blob.normal_(filler.mean, filler.std)
    if filler.sparse == -1:
        return
    outputs = blob.shape[0] if blob.dim() else 1
    if not 0 <= filler.sparse <= outputs:
        raise _refusal(spec, filler, f"needs `sparse` from 0 to the {outputs} outputs, got {filler.sparse}")
    blob.mul_(torch.empty_like(blob).bernoulli_(filler.sparse / outputs))


def _positive_unitball(blob: Tensor, filler: caffe_pb2.FillerParameter, spec: LayerSpec) -> None:
    """Positive values that sum to 1 over all axes but the first."""
    blob.uniform_(0, 1)
    rows = blob.view(blob.shape[0] if blob.dim() else 1, -1)
    rows.div_(rows.sum(1, keepdim=True))


def _fan(blob: Tensor, filler: caffe_pb2.FillerParameter) -> float:
    """How many values come in, go out, or both halved.

    Caffe: fan-in is all axes but the first, fan-out all axes but the second, for InnerProduct too.
    """
    fan_in = blob.numel() / (blob.shape[0] if blob.dim() else 1)
    fan_out = blob.numel() / (blob.shape[1] if blob.dim() > 1 else 1)
    if filler.variance_norm == caffe_pb2.FillerParameter.FAN_OUT:
        return fan_out
    if filler.variance_norm == caffe_pb2.FillerParameter.AVERAGE:
        return (fan_in + fan_out) / 2
    return fan_in


def _xavier(blob: Tensor, filler: caffe_pb2.FillerParameter, spec: LayerSpec) -> None:
    """Glorot and Bengio 2010, uniform of variance 1 / fan."""
    bound = math.sqrt(3 / _fan(blob, filler))
    blob.uniform_(-bound, bound)


def _msra(blob: Tensor, filler: caffe_pb2.FillerParameter, spec: LayerSpec) -> None:
    """He et al. 2015, normal of variance 2 / fan."""
    blob.normal_(0, math.sqrt(2 / _fan(blob, filler)))


def _bilinear(blob: Tensor, filler: caffe_pb2.FillerParameter, spec: LayerSpec) -> None:
    """The kernel of bilinear interpolation, in every channel: for a Deconvolution that enlarges."""
    if blob.dim() != 4 or blob.shape[2] != blob.shape[3]:
        raise _refusal(spec, filler, f"needs a blob of 4 axes with a square kernel, got {tuple(blob.shape)}")
    size = blob.shape[3]
    center = DIALECTS[spec.dialect].bilinear_center(size)
    profile = 1 - (torch.arange(size, dtype=torch.float32) / math.ceil(size / 2) - center).abs()
    blob.copy_(profile[:, None] * profile)


def _identity(blob: Tensor, filler: caffe_pb2.FillerParameter, spec: LayerSpec) -> None:
    """The dilation fork's: each group of outputs passes its group of inputs on, the kernel's centre alone.

    The entries are num_groups / outputs, times `value` if it is given; the rest is 0, or gaussian if `std` is
    given. num_groups is the number of inputs by default.
    """
    if blob.dim() != 4:
        raise _refusal(spec, filler, f"needs a blob of 4 axes, got {tuple(blob.shape)}")
    outputs, inputs, height, width = blob.shape
    groups = filler.num_groups if filler.HasField("num_groups") else inputs
    if groups < 1 or outputs % groups:
        raise _refusal(
            spec, filler, f"needs outputs that are a multiple of its groups, got {outputs} outputs, {groups} groups"
        )
    if filler.HasField("std"):
        _gaussian(blob, filler, spec)
    else:
        blob.zero_()
    value = groups / outputs * (filler.value if filler.HasField("value") else 1)
    wide, deep = outputs // groups, inputs // groups
    for group in range(groups if deep else 0):
        blob[group * wide : (group + 1) * wide, group * deep : (group + 1) * deep, height // 2, width // 2] = value


_FILLERS: dict[str, Callable[[Tensor, caffe_pb2.FillerParameter, LayerSpec], None]] = {
    "constant": _constant,
    "uniform": _uniform,
    "gaussian": _gaussian,
    "positive_unitball": _positive_unitball,
    "xavier": _xavier,
    "msra": _msra,
    "bilinear": _bilinear,
    "identity": _identity,
}
