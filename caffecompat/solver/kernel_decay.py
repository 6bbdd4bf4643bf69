"""Weight decay of the kernel that the branches of a block make up (RepVGG), where a solver asks for it.

A block sums a square convolution and a 1x1 convolution of one blob, each behind it with BatchNorm, Scale or both, and
often that blob itself. With t3 and t1 the factors that BatchNorm and Scale come to, by the kept statistics, the kernel
has at its middle K = t3 * K3 + t1 * K1. In the place of the squares of K3's middle and of K1, K^2 / (t3^2 + t1^2)
decays; the rest of K3 decays as always. The factors count as constants.

Source: `get_custom_L2` of https://github.com/DingXiaoH/RepVGG, which its authors recommend for quantization.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from caffecompat.graph.spec import BlobKey, LayerSpec
from caffecompat.layers.base import Layer
from caffecompat.layers.convolution import Convolution
from caffecompat.layers.normalization import BatchNorm
from caffecompat.layers.scale import Scale
from caffecompat.net import Net
from caffecompat.schema import caffe_pb2
from caffecompat.solver.updates import gradient_of

SUM = caffe_pb2.EltwiseParameter.SUM


@dataclass(frozen=True)
class Branch:
    """A summand: from its source a convolution, if any, and what multiplies its channels."""

    source: BlobKey
    convolution: Convolution | None
    factors: tuple[BatchNorm | Scale, ...]

    def factor(self) -> Tensor:
        """What the channels are multiplied by, (outputs, 1, 1, 1)."""
        assert self.convolution is not None
        weight = self.convolution.weight
        product = torch.ones_like(weight[:, :1, :1, :1])
        for layer in self.factors:
            if isinstance(layer, Scale):
                product *= layer.weight.reshape_as(product)
            else:
                kept = torch.where(layer.factor == 0, 0.0, 1 / layer.factor)
                product /= (layer.variance * kept + layer.eps).sqrt().reshape_as(product)
        return product


@dataclass(frozen=True)
class Block:
    """The two branches of a block that have a kernel."""

    wide: Branch
    point: Branch

    @property
    def convolutions(self) -> tuple[Convolution, Convolution]:
        """The square convolution, and that of one place."""
        assert self.wide.convolution is not None
        assert self.point.convolution is not None
        return self.wide.convolution, self.point.convolution

    @torch.no_grad()
    def decay(self, wide_decay: float, point_decay: float) -> None:
        """Add the decay to the gradients of both kernels."""
        wide, point = (layer.weight for layer in self.convolutions)
        for_wide, for_point = self.wide.factor(), self.point.factor()
        middle = wide.shape[-1] // 2
        places = (slice(None), slice(None), slice(middle, middle + 1), slice(middle, middle + 1))
        squares = for_wide.square() + for_point.square()
        # Where both factors are 0 the kernel is 0 too.
        kernel = (wide[places] * for_wide + point * for_point) / torch.where(squares == 0, 1.0, squares)
        gradient = gradient_of(wide)
        gradient.add_(wide, alpha=wide_decay)
        gradient[places] += wide_decay * (kernel * for_wide - wide[places])
        gradient_of(point).add_(kernel * for_point, alpha=point_decay)


def find_blocks(net: Net) -> list[Block]:
    """The blocks of a net, in its order."""
    layers = list(zip(net.graph.layers, net.layers, strict=True))
    makers = {key: pair for pair in layers for key in pair[0].tops}
    return [block for spec, _ in layers for block in _block(spec, makers)]


Makers = dict[BlobKey, tuple[LayerSpec, Layer]]


def _block(spec: LayerSpec, makers: Makers) -> Iterator[Block]:
    if spec.type != "Eltwise" or spec.message.eltwise_param.operation != SUM or spec.message.eltwise_param.coeff:
        return
    branches = [_branch(key, makers) for key in spec.bottoms]
    wide = [branch for branch in branches if branch.convolution is not None and _side(branch.convolution) > 1]
    point = [branch for branch in branches if branch.convolution is not None and _side(branch.convolution) == 1]
    alike = len({branch.source for branch in branches}) == 1
    if alike and len(wide) == len(point) == 1 and _same_channels(wide[0], point[0]):
        yield Block(wide[0], point[0])


def _same_channels(wide: Branch, point: Branch) -> bool:
    layers = wide.convolution, point.convolution
    return len({layer.weight.shape[:2] for layer in layers if layer is not None}) == 1


def _branch(key: BlobKey, makers: Makers) -> Branch:
    """The branch that ends in a blob."""
    factors: list[BatchNorm | Scale] = []
    convolution: Convolution | None = None
    while key in makers:
        spec, layer = makers[key]
        if len(spec.bottoms) != 1:
            break
        if spec.type == "Split":  # in nets that are seen
            key = spec.bottoms[0]
        elif convolution is None and isinstance(layer, BatchNorm | Scale) and _by_channel(layer):
            factors.append(layer)
            key = spec.bottoms[0]
        elif convolution is None and isinstance(layer, Convolution) and _side(layer) and _owned(layer):
            convolution = layer
            key = spec.bottoms[0]
        else:
            break
    return Branch(key, convolution, tuple(factors))


def _by_channel(layer: BatchNorm | Scale) -> bool:
    return isinstance(layer, BatchNorm) or (layer.first_axis == 1 and len(layer.operand) == 1)


def _side(layer: Convolution) -> int:
    """The side of a square kernel with a middle, or 0."""
    sides = set(layer.weight.shape[2:])
    side = sides.pop() if len(sides) == 1 and layer.weight.dim() == 4 else 0
    return side if side % 2 else 0


def _owned(layer: Convolution) -> bool:
    """Whether it has its kernel for itself."""
    return layer.spec.param(0).owner is None and not layer.spec.param(0).name
