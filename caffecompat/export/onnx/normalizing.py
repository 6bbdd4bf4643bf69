"""LRN, BatchNorm, MVN, Normalize, and the layers of forks that have these names or BN."""

from __future__ import annotations

import numpy as np

from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import Value
from caffecompat.export.sampling import Array
from caffecompat.layers.base import Layer
from caffecompat.layers.fork_normalization import (
    BN,
    BatchNormWithScale,
    BNWithoutStatistics,
    NormalizeImage,
    NormalizeWithoutScale,
)
from caffecompat.layers.normalization import LRN, MVN, BatchNorm, Normalize

_TINY = float(np.finfo(np.float32).tiny)


@emits(LRN, precision=Precision.SINGLE)
def lrn(layer: LRN, at: Scope) -> Value:
    (x,) = at.bottoms
    if not layer.within:
        return at.op("LRN", x, size=layer.size, alpha=layer.alpha, beta=layer.beta, bias=layer.k)
    pad = [layer.size // 2] * 4
    squares = at.op("Mul", x, x)
    mean = at.op("AveragePool", squares, kernel_shape=[layer.size] * 2, pads=pad, count_include_pad=1)
    base = at.op("Add", at.op("Mul", mean, layer.alpha), layer.k)
    return at.op("Div", x, at.op("Pow", base, layer.beta))


def _array(layer: Layer, name: str) -> Array:
    blob = layer.blobs[layer.blob_names.index(name)]
    return np.asarray(blob.detach().cpu().float().numpy())


def _by_statistics(layer: Layer, at: Scope, arrays: dict[str, Array], eps: float) -> Value:
    """BatchNormalization by weight, bias, mean and variance, (channels) each."""
    values = [at.initializer(name, arrays[name].reshape(-1)) for name in ("weight", "bias", "mean", "variance")]
    return at.op("BatchNormalization", at.bottoms[0], *values, epsilon=eps)


def _by_batch(at: Scope, eps: float) -> tuple[Value, Value, Value]:
    """(x - mean) / sqrt(variance + eps) by the batch's own statistics, the mean, and the variance."""
    (x,) = at.bottoms
    axes = [0, *range(2, len(at.shapes[0]))]
    mean = at.reduce("ReduceMean", x, axes)
    centred = at.op("Sub", x, mean)
    variance = at.reduce("ReduceMean", at.op("Mul", centred, centred), axes)
    root = at.op("Sqrt", at.op("Add", variance, eps or _TINY))
    return at.op("Div", centred, root), mean, variance


@emits(BatchNorm, precision=Precision.SINGLE)
def batch_norm(layer: BatchNorm, at: Scope) -> Value:
    """Caffe: the statistics are kept multiplied by a factor; a factor of 0 stands for statistics of 0."""
    if layer.global_stats is False:
        return _by_batch(at, layer.eps)[0]
    factor = float(layer.factor)
    inverse = np.float32(0 if factor == 0 else 1 / factor)
    arrays = {name: _array(layer, name) * inverse for name in ("mean", "variance")}
    ones = np.ones(layer.channels, np.float32)
    return _by_statistics(layer, at, {"weight": ones, "bias": ones * 0, **arrays}, layer.eps)


@emits(BN, BatchNormWithScale, precision=Precision.SINGLE)
def batch_norm_with_scale(layer: BN | BatchNormWithScale, at: Scope) -> Value:
    arrays = {name: _array(layer, name) for name in ("weight", "bias", "mean", "variance")}
    return _by_statistics(layer, at, arrays, layer.eps)


@emits(BNWithoutStatistics, precision=Precision.SINGLE)
def bn_without_statistics(layer: BNWithoutStatistics, at: Scope) -> Value:
    if layer.more_tops:
        raise at.error("BN with tops for its statistics has no form in ONNX", "drop those tops")
    shape = (layer.channels, *[1] * (len(at.shapes[0]) - 2))
    x = _by_batch(at, layer.EPS)[0] if layer.learns else at.bottoms[0]
    return at.op("Add", at.op("Mul", x, at.parameter("weight", *shape)), at.parameter("bias", *shape))


@emits(MVN, precision=Precision.SINGLE)
def mvn(layer: MVN, at: Scope) -> Value:
    (x,) = at.bottoms
    dims = len(at.shapes[0])
    if dims < 4:
        x = at.unsqueeze(x, *range(dims, 4))
    centred = at.op("Sub", x, at.reduce("ReduceMean", x, layer.axes))
    if not layer.divides:
        return centred
    variance = at.reduce("ReduceMean", at.op("Mul", centred, centred), layer.axes)
    return at.op("Div", centred, at.op("Add", at.op("Sqrt", variance), layer.eps))


def _norm(at: Scope, x: Value, axes: list[int], eps: float) -> Value:
    squares = at.reduce("ReduceSum", at.op("Mul", x, x), axes)
    return at.op("Sqrt", at.op("Add", squares, eps) if eps else squares)


@emits(Normalize, precision=Precision.SINGLE)
def normalize(layer: Normalize, at: Scope) -> Value:
    (x,) = at.bottoms
    dims = len(at.shapes[0])
    norm = _norm(at, x, list(range(1, dims)) if layer.across_spatial else [1], layer.eps)
    shape = () if layer.shared else (layer.channels, *[1] * (dims - 2))
    return at.op("Mul", at.op("Div", x, norm), at.parameter("weight", *shape))


@emits(NormalizeWithoutScale, precision=Precision.SINGLE)
def normalize_without_scale(layer: NormalizeWithoutScale, at: Scope) -> tuple[Value, ...]:
    (x,) = at.bottoms
    if layer.squares:
        norm = _norm(at, x, [1], layer.EPS)
    else:
        norm = at.op("Add", at.reduce("ReduceSum", at.op("Abs", x), [1]), layer.EPS)
    return (at.op("Div", x, norm), norm)[: len(layer.spec.tops)]


@emits(NormalizeImage, precision=Precision.SINGLE)
def normalize_image(layer: NormalizeImage, at: Scope) -> Value:
    (x,) = at.bottoms
    return at.op("Div", x, _norm(at, x, list(range(1, len(at.shapes[0]))), 0.0))
