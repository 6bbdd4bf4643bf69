"""LRN, BatchNorm, MVN, Normalize, and the layers of forks that have these names or BN."""

from __future__ import annotations

import torch
from torch import Tensor

from caffecompat.export.source.item import Argument, Make
from caffecompat.export.source.registry import Site, writes
from caffecompat.export.source.text import literal
from caffecompat.layers.fork_normalization import (
    BN,
    BatchNormWithScale,
    BNWithoutStatistics,
    NormalizeImage,
    NormalizeWithoutScale,
)
from caffecompat.layers.normalization import LRN, MVN, BatchNorm, Normalize


@writes(LRN)
def lrn(layer: LRN, at: Site) -> None:
    numbers = [layer.size, layer.alpha, layer.beta]
    text = ", ".join(map(literal, numbers))
    if layer.within:
        at.function("lrn", f"lrn_within_channel({{0}}, {text})", operators=["lrn_within_channel"])
        return
    last = "" if layer.k == 1 else f", {literal(layer.k)}"
    module = Make("nn.LocalResponseNorm", (*map(Argument, numbers), Argument(layer.k, "", "", 1.0)))
    at.function("lrn", f"F.local_response_norm({{0}}, {text}, k={literal(layer.k)})" if last else
                f"F.local_response_norm({{0}}, {text})", module=module)  # fmt: skip


def _batch_norm(
    at: Site, mean: Tensor, variance: Tensor, eps: float, weight: Tensor | None = None, bias: Tensor | None = None
) -> None:
    dims = len(at.shapes[0])
    if not 2 <= dims <= 5:
        raise at.error(f"PyTorch's batch normalization takes 2 to 5 axes, the bottom has {dims}")
    tensors = {"running_mean": mean.reshape(-1), "running_var": variance.reshape(-1)}
    if weight is not None and bias is not None:
        tensors = {"weight": weight.reshape(-1), "bias": bias.reshape(-1), **tensors}
    tensors["num_batches_tracked"] = torch.zeros((), dtype=torch.int64)
    arguments = [
        Argument(mean.numel(), "", "out_channels"),
        Argument(eps, "eps", "", 1e-5),
        Argument(weight is not None, "affine", "", True),
    ]
    at.module("bn", f"nn.BatchNorm{max(dims - 2, 1)}d", arguments, tensors)


@writes(BatchNorm)
def batch_norm(layer: BatchNorm, at: Site) -> None:
    """Caffe keeps mean and variance multiplied by a factor: here they are divided by it."""
    if layer.global_stats is False:
        at.function("bn", f"F.batch_norm({{0}}, None, None, training=True, eps={literal(layer.eps)})")
        return
    factor = float(layer.factor)
    inverse = 0.0 if factor == 0 else 1 / factor
    _batch_norm(at, layer.mean * inverse, layer.variance * inverse, _single(layer.eps))


def _single(eps: float) -> float:
    """The shortest decimal that float32 holds as this."""
    return float(literal(eps))


@writes(BatchNormWithScale)
def batch_norm_with_scale(layer: BatchNormWithScale, at: Site) -> None:
    _batch_norm(at, layer.mean, layer.variance, _single(layer.eps), layer.weight, layer.bias)


@writes(BN)
def bn(layer: BN, at: Site) -> None:
    _batch_norm(at, layer.mean, layer.variance, _single(layer.eps), layer.weight, layer.bias)


@writes(BNWithoutStatistics)
def bn_without_statistics(layer: BNWithoutStatistics, at: Site) -> None:
    over = literal((0, *range(2, len(at.shapes[0]))))
    statistics = (f"{{0}}.mean({over})", f"{{0}}.var({over}, correction=0)")
    for text, top in zip(statistics, at.tops[1:], strict=False):
        at.function("statistic", f"{text}.reshape(1, -1, 1, 1)", None, [top])
    scaled = at.bottoms[0]
    if layer.learns:
        scaled = at.between()
        at.function("bn", f"F.batch_norm({{0}}, None, None, training=True, eps={literal(layer.EPS)})", None, [scaled])
    behind = len(at.shapes[0]) - 2
    tensors = {"weight": layer.weight.reshape(-1), "bias": layer.bias.reshape(-1)}
    arguments = [Argument((layer.channels,), "", "out_channels"), Argument(behind, "behind", "", 0)]
    at.module("scale", "ScaleBias", arguments, tensors, [scaled], at.tops[:1], operators=["ScaleBias"])


@writes(MVN)
def mvn(layer: MVN, at: Site) -> None:
    missing = 4 - len(at.shapes[0])
    x = at.bottoms[0]
    if missing:
        x = at.between()
        at.function("axes", "{0}[(...," + " None," * (missing - 1) + " None)]", None, [x])
    if layer.divides:
        at.function("mvn", f"mvn({{0}}, {layer.axes}, {literal(layer.eps)})", [x], operators=["mvn"])
    else:
        at.function("mvn", f"{{0}} - {{0}}.mean({layer.axes}, keepdim=True)", [x])


@writes(Normalize)
def normalize(layer: Normalize, at: Site) -> None:
    arguments = [
        Argument(1 if layer.shared else layer.channels, "", "out_channels"),
        Argument(layer.eps, "eps", "", _DEFAULT_EPS),
        Argument(layer.across_spatial, "across_spatial", "", False),
    ]
    at.module("norm", "Normalize", arguments, {"weight": layer.weight.reshape(-1)}, operators=["Normalize"])


_DEFAULT_EPS = float(torch.tensor(1e-10, dtype=torch.float32))


@writes(NormalizeWithoutScale)
def normalize_without_scale(layer: NormalizeWithoutScale, at: Site) -> None:
    norm = at.tops[1] if layer.gives_norm else at.between()
    if layer.squares:
        at.function("norm", f"({{0}}.square().sum(1, keepdim=True) + {literal(layer.EPS)}).sqrt()", None, [norm])
    else:
        at.function("norm", f"{{0}}.abs().sum(1, keepdim=True) + {literal(layer.EPS)}", None, [norm])
    at.function("normalize", "{0} / {1}", [at.bottoms[0], norm], at.tops[:1])


@writes(NormalizeImage)
def normalize_image(layer: NormalizeImage, at: Site) -> None:
    axes = tuple(range(1, len(at.shapes[0])))
    text = literal(axes if len(axes) > 1 else axes[0])
    at.function("normalize", f"{{0}} / {{0}}.square().sum({text}, keepdim=True).sqrt()")
