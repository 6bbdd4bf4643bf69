"""LRN, BatchNorm, MVN and Normalize."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.layers.scale import ChannelWeight
from caffecompat.schema import caffe_pb2

# PyTorch wants an eps above 0 where it trains.
_TINY = float(torch.finfo(torch.float32).tiny)
# Published nets use 3 to 11; the work grows with it.
MAX_LOCAL_SIZE = 999


@layer("LRN")
class LRN(Layer):
    """x / (k + alpha * mean of squares) ^ beta, the mean over local_size channels or local_size^2 pixels.

    Caffe: values beyond the edge count as 0 in the mean; within a channel, k is 1 whatever is stated.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.lrn_param
        self.size = param.local_size
        self.alpha, self.beta = param.alpha, param.beta
        self.within = param.norm_region == caffe_pb2.LRNParameter.WITHIN_CHANNEL
        self.k = 1.0 if self.within else param.k
        if self.size % 2 != 1 or self.size > MAX_LOCAL_SIZE:
            raise self.error(f"local_size must be odd and at most {MAX_LOCAL_SIZE}, got {self.size}", kind=SchemaError)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        if len(bottoms[0]) != 4:
            raise self.error(f"expected a bottom of 4 axes (num, channels, height, width), got {bottoms[0]}")
        return bottoms

    def forward(self, x: Tensor) -> Tensor:
        pad = self.size // 2
        squares = x.square()
        if self.within:
            scale = functional.avg_pool2d(squares, self.size, 1, pad).mul_(self.alpha).add_(self.k)
        else:
            padded = functional.pad(squares, (0, 0, 0, 0, pad, pad))
            sums = padded[:, : x.shape[1]].clone()
            for shift in range(1, self.size):
                sums.add_(padded[:, shift : shift + x.shape[1]])
            scale = sums.mul_(self.alpha / self.size).add_(self.k)
        if self.beta == 0.75:  # the usual one: two roots cost half as much as a power
            root = scale.rsqrt()
            return x * root * root.sqrt()
        return x * scale.pow(-self.beta)


def normalized_by_batch(x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x - mean) / sqrt(variance + eps) by each channel's own statistics, and these: mean, variance (channels).

    The variance given is m / (m - 1) times that of the m values of a channel, or 0 if m is 1; no gradient passes
    through either. Those of half-precision values are float32.
    """
    channels = x.shape[1]
    dtype = torch.promote_types(x.dtype, torch.float32)
    mean, variance = x.new_zeros(channels, dtype=dtype), x.new_zeros(channels, dtype=dtype)
    if x.numel() == channels:
        return x - x, x.detach().flatten().to(dtype), variance
    # A momentum of 1 leaves the batch's own statistics there, the variance scaled by m / (m - 1).
    return functional.batch_norm(x, mean, variance, training=True, momentum=1.0, eps=eps or _TINY), mean, variance


class BatchNorm(Layer):
    """(x - mean) / sqrt(variance + eps) for each channel. Blobs, all buffers: mean, variance (channels), factor (1).

    Caffe: mean and variance are kept multiplied by the factor, which counts the passes with the same decay; a
    factor of 0 stands for statistics of 0. Those of the batch are used in training, the kept ones in test, unless
    use_global_stats says. The kept variance is scaled by m / (m - 1) for m values a channel, by 1 if m is 1.
    """

    mean: Tensor
    variance: Tensor
    factor: Tensor

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.batch_norm_param
        if len(bottoms[0]) < 2:
            raise self.error(f"expected a bottom of at least 2 axes, got {bottoms[0]}")
        self.channels = bottoms[0][1]
        self.eps = param.eps
        if not 0 <= self.eps < math.inf:
            raise self.error(f"eps must be at least 0, got {self.eps:g}", kind=SchemaError)
        self.decay = param.moving_average_fraction
        self.global_stats = param.use_global_stats if param.HasField("use_global_stats") else None
        for name, count in (("mean", self.channels), ("variance", self.channels), ("factor", 1)):
            self.declare(name, (count,), learned=False)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (bottom,) = bottoms
        if len(bottom) < 2 or bottom[1] != self.channels:
            raise self.error(f"expected {self.channels} channels on axis 1, got {bottom}")
        return (bottom,)

    def forward(self, x: Tensor) -> Tensor:
        if self.training if self.global_stats is None else not self.global_stats:
            return self._normalize_by_batch(x)
        inverse = torch.where(self.factor == 0, 0.0, 1 / self.factor)
        return functional.batch_norm(x, self.mean * inverse, self.variance * inverse, eps=self.eps)

    def _normalize_by_batch(self, x: Tensor) -> Tensor:
        top, mean, variance = normalized_by_batch(x, self.eps)
        with torch.no_grad():
            self.mean.mul_(self.decay).add_(mean)
            self.variance.mul_(self.decay).add_(variance)
            self.factor.mul_(self.decay).add_(1)
        return top


@layer("MVN")
class MVN(Layer):
    """Each channel (or, across_channels, each image) less its mean, divided by its standard deviation + eps."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.mvn_param
        self.eps = param.eps
        self.axes = (1, 2, 3) if param.across_channels else (2, 3)
        self.divides = param.normalize_variance

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """The bottom's. Caffe: with axes of 1 behind it, up to four.

        Raises:
            ShapeError: it has more than 4 axes.
        """
        (bottom,) = bottoms
        if len(bottom) > 4:
            raise self.error(f"expected a bottom of at most 4 axes, got {bottom}")
        return ((*bottom, *([1] * (4 - len(bottom)))),)

    def forward(self, x: Tensor) -> Tensor:
        x = x.reshape(*x.shape, *([1] * (4 - x.dim())))
        centred = x - x.mean(self.axes, keepdim=True)
        if not self.divides:
            return centred
        # The least variance keeps the root's gradient finite; its root is nothing beside any eps.
        variance = centred.square().mean(self.axes, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
        return centred / (variance.sqrt() + self.eps)


@layer("NormalizeBBox")
class Normalize(ChannelWeight):
    """x / sqrt(sum of squares + eps), times a learned scale. Blob: weight (channels), or of no axes if shared.

    The sum is over the whole image, or over the channels of each pixel without across_spatial (ParseNet, SSD; the
    first nets of SSD call the type NormalizeBBox).
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        param = spec.message.norm_param
        filler = param.scale_filler if param.HasField("scale_filler") else 1.0
        super().__init__(spec, bottoms, param.channel_shared, filler)
        self.across_spatial = param.across_spatial
        self.eps = param.eps

    def forward(self, x: Tensor) -> Tensor:
        axes = list(range(1, x.dim())) if self.across_spatial else [1]
        wide = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        norm = (wide.square().sum(axes, keepdim=True) + self.eps).sqrt()
        weight = self.weight if self.shared else self.weight.reshape(-1, *([1] * (x.dim() - 2)))
        return wide / norm * weight
