"""BN of two forks, BatchNorm with its own scale and bias, and the Normalize layers that have no scale.

BN, BatchNorm and Normalize mean different layers in different forks; the functions at the end choose.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, meanings
from caffecompat.layers.normalization import BatchNorm, Normalize, normalized_by_batch
from caffecompat.schema import caffe_pb2


class _OfChannels(Layer):
    """A layer that treats each channel of (N, C, ...) by itself or together, and keeps the shape."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        if not 2 <= len(bottoms[0]) <= 4:
            raise self.error(f"expected a bottom of 2 to 4 axes, got {bottoms[0]}")
        self.channels = bottoms[0][1]

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (bottom,) = bottoms
        if not 2 <= len(bottom) <= 4 or bottom[1] != self.channels:
            raise self.error(f"expected {self.channels} channels on axis 1, got {bottom}")
        return (bottom,)

    def _scaled(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        shape = (-1, *([1] * (x.dim() - 2)))
        return torch.addcmul(bias.reshape(shape), x, weight.reshape(shape))


class BN(_OfChannels):
    """weight * (x - mean) / sqrt(variance + eps) + bias (PSPNet, yjxiong, happynear).

    Blobs, each of shape (1, channels, 1, 1): weight, bias, mean, variance. In training the statistics are those of
    the batch, and the kept ones become momentum * kept + (1 - momentum) * batch; with `frozen` the kept ones are
    used in training too, and no blob learns.
    """

    weight: Tensor
    bias: Tensor
    mean: Tensor
    variance: Tensor

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.bn_param
        if len(spec.tops) > 1:
            raise self.error(f"a BN of four blobs has one top, got {len(spec.tops)}", kind=SchemaError)
        self.eps, self.momentum, self.frozen = param.eps, param.momentum, param.frozen
        shape = (1, self.channels, 1, 1)
        self.declare("weight", shape, param.slope_filler, learned=not self.frozen)
        self.declare("bias", shape, param.bias_filler, learned=not self.frozen)
        self.declare("mean", shape, learned=False)
        self.declare("variance", shape, 1.0 if self.frozen else 0.0, learned=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.frozen:
            statistics = self.mean.flatten(), self.variance.flatten()
            return functional.batch_norm(x, *statistics, self.weight.flatten(), self.bias.flatten(), eps=self.eps)
        top, mean, variance = normalized_by_batch(x, self.eps)
        count = x.numel() / max(self.channels, 1)
        with torch.no_grad():
            for kept, batch in ((self.mean, mean), (self.variance, variance * ((count - 1) / count))):
                kept.mul_(self.momentum).add_(batch.view(kept.shape), alpha=1 - self.momentum)
        return self._scaled(top, self.weight, self.bias)


class BNWithoutStatistics(_OfChannels):
    """weight * x + bias with `bn_mode: INFERENCE`, else by the batch's statistics in every phase (SegNet).

    Blobs, each of shape (1, channels, 1, 1): weight, bias. A second and third top are the batch's mean and variance.
    """

    weight: Tensor
    bias: Tensor
    EPS = 1e-9

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.bn_param
        self.learns = param.bn_mode == caffe_pb2.BNParameter.LEARN
        self.more_tops = len(spec.tops) - 1
        if self.more_tops and not self.learns:
            raise self.error("with bn_mode INFERENCE there are no statistics for more tops", kind=SchemaError)
        self.declare("weight", (1, self.channels, 1, 1), param.scale_filler)
        self.declare("bias", (1, self.channels, 1, 1), param.shift_filler)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """The bottom's; (1, channels, 1, 1) for each further top."""
        return (*super().shapes(*bottoms), *([(1, self.channels, 1, 1)] * self.more_tops))

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        if not self.learns:
            return self._scaled(x, self.weight, self.bias)
        top, mean, variance = normalized_by_batch(x, self.EPS)
        top = self._scaled(top, self.weight, self.bias)
        if not self.more_tops:
            return top
        count = x.numel() / max(self.channels, 1)
        statistics = (mean, variance * ((count - 1) / count))
        return (top, *(value.view(1, -1, 1, 1) for value in statistics[: self.more_tops]))


class BatchNormWithScale(_OfChannels):
    """weight * (x - mean) / sqrt(variance + eps) + bias (NVIDIA). Blobs: mean, variance, factor, weight, bias.

    The factor (1) is kept for the file's sake and changes nothing: mean and variance are not multiplied by it. eps
    is at least 1e-5. In training the kept statistics become f * kept + (1 - f) * batch for a
    moving_average_fraction f, and in the first pass those of the batch.
    """

    mean: Tensor
    variance: Tensor
    factor: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.batch_norm_param
        self.eps = max(param.eps, 1e-5)
        self.decay = param.moving_average_fraction
        self.global_stats = param.use_global_stats
        self.passes = 0
        self.declare("mean", (self.channels,), learned=False)
        self.declare("variance", (self.channels,), learned=False)
        self.declare("factor", (1,), 1.0, learned=False)
        self.declare("weight", (self.channels,), param.scale_filler if param.HasField("scale_filler") else 1.0)
        self.declare("bias", (self.channels,), param.bias_filler if param.HasField("bias_filler") else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.global_stats:
            return functional.batch_norm(x, self.mean, self.variance, self.weight, self.bias, eps=self.eps)
        top, mean, variance = normalized_by_batch(x, self.eps)
        decay = self.decay if self.passes else 0.0
        self.passes += 1
        with torch.no_grad():
            self.mean.mul_(decay).add_(mean, alpha=1 - decay)
            self.variance.mul_(decay).add_(variance, alpha=1 - decay)
        return self._scaled(top, self.weight, self.bias)


class NormalizeWithoutScale(_OfChannels):
    """x divided by its norm over the channels, no blob (happynear). A second top is the norm, (N, 1, ...).

    The norm is sqrt(sum of squares + 1e-6), or with normalize_type "L1" sum of absolute values + 1e-6. Gradients
    reach the bottom through the second top only with bp_norm. With fix_gradient that of the first is multiplied by
    the norm.
    """

    EPS = 1e-6

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.normalize_param
        if param.normalize_type not in ("L1", "L2"):
            raise self.error(f'normalize_type must be "L1" or "L2", got "{param.normalize_type}"', kind=SchemaError)
        self.squares = param.normalize_type == "L2"
        self.fix_gradient, self.bp_norm = param.fix_gradient, param.bp_norm
        self.gives_norm = len(spec.tops) > 1

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """The bottom's; for the second top with one channel."""
        (bottom,) = super().shapes(*bottoms)
        return (bottom, (bottom[0], 1, *bottom[2:])) if self.gives_norm else (bottom,)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        if self.squares:
            norm = (wide.square().sum(1, keepdim=True) + self.EPS).sqrt().to(x.dtype)
        else:
            norm = (wide.abs().sum(1, keepdim=True) + self.EPS).to(x.dtype)
        top = x / norm
        if self.fix_gradient and top.requires_grad:
            # The values of x / norm, its gradient times the norm.
            scaled = top * norm.detach()
            top = top.detach() + (scaled - scaled.detach())
        if not self.gives_norm:
            return top
        return top, norm if self.bp_norm else norm.detach()


class NormalizeImage(_OfChannels):
    """Each image divided by its norm, the root of the sum of its squares; no blob and no parameter (yjxiong)."""

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        return x / wide.square().sum(list(range(1, x.dim())), keepdim=True).sqrt().to(x.dtype)


_FOUR_BLOBS = ("slope_filler", "bias_filler", "momentum", "eps", "frozen", "engine")
_TWO_BLOBS = ("scale_filler", "shift_filler", "bn_mode")


@meanings("BN", BN, BNWithoutStatistics)
def _bn(spec: LayerSpec, bottoms: Sequence[Shape]) -> type[Layer]:
    """PSPNet's has four blobs, SegNet's two: told apart by the fields of bn_param, more tops, more than two param."""
    param = spec.message.bn_param
    four = [name for name in _FOUR_BLOBS if param.HasField(name)]
    two = [name for name in _TWO_BLOBS if param.HasField(name)]
    if four and two:
        raise spec.error(
            f"{four[0]} belongs to the BN of PSPNet (four blobs), {two[0]} to that of SegNet (two)",
            hint="state the fields of one of them",
            kind=SchemaError,
        )
    if four or two:
        return BN if four else BNWithoutStatistics
    if len(spec.tops) > 1:
        return BNWithoutStatistics
    if len(spec.params) > 2:
        return BN
    raise spec.error(
        "BN is a layer of PSPNet (four blobs) and another of SegNet (two blobs), and nothing tells which is meant",
        hint="state bn_param { eps: 1e-5 } for the first, bn_param { bn_mode: LEARN } or INFERENCE for the second, "
        "or load the net with its weights",
        kind=SchemaError,
    )


@meanings("BatchNorm", BatchNorm, BatchNormWithScale)
def _batch_norm(spec: LayerSpec, bottoms: Sequence[Shape]) -> type[Layer]:
    """NVIDIA's, with a scale and a bias, is asked for by scale_bias or by a filler of either."""
    param = spec.message.batch_norm_param
    scaled = param.scale_bias or param.HasField("scale_filler") or param.HasField("bias_filler")
    return BatchNormWithScale if scaled else BatchNorm


@meanings("Normalize", Normalize, NormalizeWithoutScale, NormalizeImage)
def _normalize(spec: LayerSpec, bottoms: Sequence[Shape]) -> type[Layer]:
    """SSD's unless normalize_param or a second top is there; yjxiong's is normalize_param { across_spatial: true }."""
    message = spec.message
    if message.HasField("norm_param") and (message.HasField("normalize_param") or len(spec.tops) > 1):
        other = "normalize_param" if message.HasField("normalize_param") else "a second top"
        raise spec.error(
            f"norm_param belongs to the Normalize of SSD, {other} to that of happynear/caffe-windows",
            hint="state one of them",
            kind=SchemaError,
        )
    if message.normalize_param.across_spatial:
        return NormalizeImage
    return NormalizeWithoutScale if message.HasField("normalize_param") or len(spec.tops) > 1 else Normalize
