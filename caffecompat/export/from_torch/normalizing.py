"""Normalization by channels, by groups and by neighbours."""

from __future__ import annotations

from math import prod

from caffecompat.export.from_torch.pooling import AVE
from caffecompat.export.from_torch.registry import converts
from caffecompat.export.from_torch.scope import Scope, filled
from caffecompat.export.from_torch.values import Blob, Constant


@converts("_native_batch_norm_legit_no_training")
def _batch_norm(scope: Scope) -> list[Blob]:
    mean, variance = scope.constant("running_mean"), scope.constant("running_var")
    assert mean is not None
    assert variance is not None
    top = scope.layer("BatchNorm", scope.blob("input"), blobs=[mean, variance, filled(1)], eps=scope.arg("eps"))
    return [_affine(scope, top, scope.constant("weight"), scope.constant("bias"))]


def _affine(scope: Scope, x: Blob, weight: Constant | None, bias: Constant | None) -> Blob:
    """Times a weight for each channel, plus a bias."""
    if weight is None and bias is None:
        return x
    factor = weight or Constant(filled(x.shape[1]))
    return scope.layer(
        "Scale",
        x,
        part="scale",
        blobs=[factor] if bias is None else [factor, bias],
        **({} if bias is None else {"bias_term": True}),
    )


@converts("lrn")
def _local_response(scope: Scope) -> Blob:
    size = scope.arg("size")
    if size % 2 == 0:
        raise scope.error(f"Caffe's LRN takes an odd number of channels, got {size}", hint="choose an odd size")
    numbers = {name: float(scope.arg(name)) for name in ("alpha", "beta", "k")}
    return scope.layer("LRN", scope.blob("input"), local_size=size, **numbers)


def _standardized(scope: Scope, x: Blob, groups: int, eps: float) -> Blob:
    """Each group of channels of each image less its mean, divided by the root of its variance + eps.

    Caffe's MVN adds its eps to the root itself; so it takes the mean alone.
    """
    shape = x.shape
    x = scope.reshaped(x, (shape[0], groups, prod(shape[1:]) // groups, 1), "groups")
    centred = scope.layer("MVN", x, part="mean", normalize_variance=False)
    squares = scope.layer("Power", centred, part="squares", power=2)
    variance = scope.layer("Pooling", squares, part="variance", pool=AVE, global_pooling=True)
    inverse = scope.layer("Power", variance, part="inverse", power=-0.5, shift=eps)
    inverse = scope.reshaped(inverse, (shape[0], groups), "inverse.flat")
    return scope.reshaped(scope.layer("Scale", centred, inverse, in_place=False, part="normal", axis=0), shape)


@converts("group_norm")
def _group_norm(scope: Scope) -> Blob:
    top = _standardized(scope, scope.blob("input"), scope.arg("num_groups"), scope.arg("eps"))
    return _affine(scope, top, scope.constant("weight"), scope.constant("bias"))


@converts("native_group_norm")
def _native_group_norm(scope: Scope) -> list[Blob]:
    top = _standardized(scope, scope.blob("input"), scope.arg("group"), scope.arg("eps"))
    return [_affine(scope, top, scope.constant("weight"), scope.constant("bias"))]


@converts("instance_norm")
def _instance_norm(scope: Scope) -> Blob:
    x = scope.blob("input")
    if scope.arg("running_mean") is not None:
        raise scope.error("kept statistics of an instance norm are those of a batch norm", hint="use BatchNorm2d")
    top = _standardized(scope, x, x.shape[1], scope.arg("eps"))
    return _affine(scope, top, scope.constant("weight"), scope.constant("bias"))
