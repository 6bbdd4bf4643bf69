"""Normalization, and learned factors and summands."""

# fmt: off

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Normalize(nn.Module):
    """Channels divided by their norm at each place, times a learned scale (ParseNet)."""

    def __init__(
        self, channels: int, eps: float = 1e-10, across_spatial: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.eps = eps
        self.across_spatial = across_spatial

    def forward(self, x: Tensor) -> Tensor:
        axes = tuple(range(1, x.dim())) if self.across_spatial else (1,)
        norm = (x.square().sum(axes, keepdim=True) + self.eps).sqrt()
        return x / norm * self.weight.reshape(-1, *[1] * (x.dim() - 2))


class ScaleBias(nn.Module):
    """A learned factor and summand; `behind` axes of the input come after theirs."""

    def __init__(self, shape: tuple[int, ...], behind: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))
        self.behind = (1,) * behind

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = (
            each.reshape(*each.shape, *self.behind) for each in (self.weight, self.bias)
        )
        return torch.addcmul(bias, x, weight)


class Scale(nn.Module):
    """A learned factor; `behind` axes of the input come after its own."""

    def __init__(self, shape: tuple[int, ...], behind: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(shape))
        self.behind = (1,) * behind

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight.reshape(*self.weight.shape, *self.behind)


class Bias(nn.Module):
    """A learned summand; `behind` axes of the input come after its own."""

    def __init__(self, shape: tuple[int, ...], behind: int = 0) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(shape))
        self.behind = (1,) * behind

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.reshape(*self.bias.shape, *self.behind)


class Constant(nn.Module):
    """A tensor that depends on no input."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.zeros(shape))

    def forward(self) -> Tensor:
        return self.value


def lrn_within_channel(x: Tensor, size: int, alpha: float, beta: float) -> Tensor:
    """Local response normalization over a window of pixels."""
    mean = F.avg_pool2d(x.square(), size, 1, size // 2)
    return x / (1 + alpha * mean).pow(beta)


def mvn(x: Tensor, axes: tuple[int, ...], eps: float) -> Tensor:
    """Less its mean, divided by its standard deviation."""
    x = x - x.mean(axes, keepdim=True)
    return x / (x.square().mean(axes, keepdim=True).sqrt() + eps)
