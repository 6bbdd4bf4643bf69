"""RepOptimizer: a plain net trained as if its convolutions had branches, by gradients that are scaled.

With constant factors s3 and s1, a block that sums s3 * (K3 conv x), s1 * (K1 conv x) and t * x, t learned for each
channel, trains as the one convolution of the kernel K = s3 * K3 + s1 * K1 + t does, if K begins as that sum and the
gradient of each of its values is multiplied: everywhere by s3^2 of its output, at the middle by s1^2 more, and where t
comes in by 1 more. This holds for SGD with and without momentum, but for the decay of t.

Source: Ding et al.: Re-parameterizing Your Optimizers rather than Architectures, ICLR 2023, section 3, and
https://github.com/DingXiaoH/RepOptimizers.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError, WeightsError, quoted
from caffecompat.formats.weights import LayerWeights, Weights
from caffecompat.layers.convolution import Convolution
from caffecompat.layers.fillers import fill
from caffecompat.net import Net
from caffecompat.net.weights import tensor
from caffecompat.solver.updates import gradient_of

WIDE, POINT, IDENTITY = "_3x3_scale", "_1x1_scale", "_identity_scale"
Refuse = Callable[[str, str | None], CaffeCompatError]


@dataclass(frozen=True)
class Scaled:
    """A convolution, and the factors of the branches that it trains like.

    Attributes:
        layer: the convolution.
        wide: that of the branch of its own kernel, (outputs,).
        point: that of the branch of 1x1, (outputs,).
        identity: what the branch without a convolution begins with, (outputs,), or None if there is no such branch.
        mask: what its gradient is multiplied by.
    """

    layer: Convolution
    wide: Tensor
    point: Tensor
    identity: Tensor | None
    mask: Tensor

    @torch.no_grad()
    def begin(self) -> None:
        """Make of the kernel, as its filler left it, what the branches come to: the 1x1 kernel by the same filler."""
        weight = self.layer.weight
        point = torch.empty(*weight.shape[:2], 1, 1)
        fill(point, self.layer.spec.message.convolution_param.weight_filler, self.layer.spec)
        weight *= _by_output(self.wide).to(weight.device)
        added = point * _by_output(self.point)
        if self.identity is not None:
            rows, columns = _diagonal(weight)
            added[rows, columns, 0, 0] += self.identity
        middle = weight.shape[-1] // 2
        weight[:, :, middle, middle] += added[:, :, 0, 0].to(weight.device)

    def scale(self) -> None:
        """Multiply the gradient."""
        gradient_of(self.layer.weight).mul_(self.mask)


def find_scaled(net: Net, scales: Weights, refuse: Refuse) -> list[Scaled]:
    """The convolutions of a net that have factors.

    Args:
        net: the net, on its device.
        scales: the weights of a net that searched for them: of the convolution NAME the layers NAME_3x3_scale,
            NAME_1x1_scale and, where there is such a branch, NAME_identity_scale.
        refuse: makes an error of a text and a hint.

    Raises:
        CaffeCompatError: there are none, or they do not fit.
    """
    by_name = {layer.name: layer for layer in scales.layers}
    wanted = [name.removesuffix(WIDE) for name in by_name if name.endswith(WIDE)]
    layers = {layer.spec.name: layer for layer in net.layers if isinstance(layer, Convolution)}
    if not wanted:
        hint = "they are the weights of a net that `caffecompat new repvgg-a0 --variant search` makes, once trained"
        raise refuse(f"expected layers of names that end in {WIDE}, got none", hint)
    found = []
    for name in wanted:
        if name not in layers:
            raise refuse(f"the net has no convolution {quoted(name)}", "search with a net of the same depth")
        found.append(_scaled(layers[name], by_name, scales.file))
    return found


def _scaled(layer: Convolution, by_name: dict[str, LayerWeights], file: str | None) -> Scaled:
    weight, name = layer.weight, layer.spec.name
    if weight.dim() != 4 or weight.shape[2] != weight.shape[3] or weight.shape[2] % 2 == 0:
        sizes = "x".join(map(str, weight.shape[2:]))
        raise layer.error(f"expected a square kernel of odd size to train by scaled gradients, got {sizes}")
    wide, point = (_factor(layer, by_name, name + suffix, file) for suffix in (WIDE, POINT))
    identity = None
    if name + IDENTITY in by_name:
        identity = _factor(layer, by_name, name + IDENTITY, file)
        if weight.shape[0] != weight.shape[1] * layer.group:
            raise layer.error(f"has other outputs than inputs, and {file} a factor for its input", kind=WeightsError)
    mask = _by_output(wide.square()).expand(weight.shape).clone()
    middle = weight.shape[-1] // 2
    mask[:, :, middle, middle] += point.square()[:, None]
    if identity is not None:
        rows, columns = _diagonal(weight)
        mask[rows, columns, middle, middle] += 1
    # As the kernel lies, so that the product is one pass.
    lying = torch.empty_like(weight, requires_grad=False).copy_(mask)
    return Scaled(layer, wide, point, identity, lying)


def _factor(layer: Convolution, by_name: dict[str, LayerWeights], name: str, file: str | None) -> Tensor:
    outputs = layer.weight.shape[0]
    blobs = by_name[name].blobs if name in by_name else ()
    if len(blobs) != 1 or blobs[0].array.size != outputs:
        got = " and ".join(str(blob.array.shape) for blob in blobs) or "nothing"
        raise layer.error(
            f"expected one blob of shape ({outputs},) for {quoted(name)}, got {got} from {file or 'the weights'}",
            hint="search with a net of the same width",
            kind=WeightsError,
        )
    value = tensor(blobs[0], (outputs,)).clone()
    if not bool(value.isfinite().all()):
        raise layer.error(f"{quoted(name)} of {file or 'the weights'} is not finite", kind=WeightsError)
    return value


def _by_output(values: Tensor) -> Tensor:
    return values.reshape(-1, 1, 1, 1)


def _diagonal(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Where a kernel's outputs read the channel of the same number."""
    rows = torch.arange(weight.shape[0])
    return rows, rows % weight.shape[1]


def begin(scaled: Sequence[Scaled], given: Collection[str]) -> None:
    """Let the kernels begin as the branches would; those whose weights were given are left as they are."""
    for one in scaled:
        if one.layer.spec.name not in given:
            one.begin()
