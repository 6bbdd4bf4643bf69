"""Pooling. PyTorch rounds the number of places down, Caffe up: what Caffe has more is cut off again."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn import functional

from caffecompat.export.from_torch.registry import converts
from caffecompat.export.from_torch.resampling import resampled
from caffecompat.export.from_torch.scope import Scope
from caffecompat.export.from_torch.values import Blob
from caffecompat.schema import caffe_pb2

MAX, AVE = caffe_pb2.PoolingParameter.MAX, caffe_pb2.PoolingParameter.AVE
Pair = tuple[int, int]


@converts("max_pool2d")
def _max_pool(scope: Scope) -> Blob:
    if any(step != 1 for step in scope.pair("dilation")):
        raise scope.error("Caffe's pooling has no dilation")
    return _pooled(scope, scope.blob(), MAX, scope.shape)


@converts("max_pool2d_with_indices")
def _max_pool_alone(scope: Scope) -> list[Blob]:
    used = {user.args[1] for user in scope.node.users}
    if used != {0} or any(step != 1 for step in scope.pair("dilation")):
        raise scope.error("the places of the greatest values count otherwise in Caffe, and there is no dilation")
    return [_pooled(scope, scope.blob(), MAX, tuple(scope.node.meta["val"][0].shape))]


@converts("avg_pool2d")
def _average_pool(scope: Scope) -> Blob:
    x, pad = scope.blob(), scope.pair("padding")
    kernel = scope.pair("kernel_size")
    top = _pooled(scope, x, AVE, scope.shape)
    divisor = scope.arg("divisor_override")
    if divisor is None and (scope.arg("count_include_pad") or not any(pad)):
        return top
    # Caffe has divided by what lies within the pads: as many as PyTorch's own counting with them.
    image, stride, up = torch.ones(1, 1, *x.shape[2:]), scope.pair("stride", default=kernel), scope.arg("ceil_mode")
    with_pads = functional.avg_pool2d(image, kernel, stride, pad, up, True)
    wanted = functional.avg_pool2d(image, kernel, stride, pad, up, False, divisor)
    factor = (wanted / with_pads)[0, 0]
    return scope.layer("Scale", top, part="divisor", blobs=[factor], fixed=True, axis=2, num_axes=2)


def _pooled(scope: Scope, x: Blob, method: int, wanted: tuple[int, ...]) -> Blob:
    if len(x.shape) != 4:
        raise scope.error(f"Caffe pools images, (num, channels, height, width), got {x.shape}")
    kernel = scope.pair("kernel_size")
    stride, pad = scope.pair("stride", default=kernel), scope.pair("padding")
    sizes: dict[str, Any] = {}
    for name, both, (high, wide), default in (
        ("kernel", "kernel_size", kernel, 0),
        ("stride", "stride", stride, 1),
        ("pad", "pad", pad, 0),
    ):
        if high != wide:
            sizes |= {f"{name}_h": high, f"{name}_w": wide}
        elif high != default:
            sizes[both] = high
    top = scope.layer("Pooling", x, pool=method, **sizes)
    for axis in (2, 3):
        top = cut(scope, top, axis, 0, wanted[axis])
    return top


def cut(scope: Scope, x: Blob, axis: int, start: int, end: int, part: str = "cut") -> Blob:
    """The part of an axis from `start` up to `end`."""
    points = [point for point in (start, end) if 0 < point < x.shape[axis]]
    if not points:
        return x
    tops = scope.layers("Slice", x, part=part, tops=len(points) + 1, axis=axis, slice_point=points)
    wanted = tops.pop(1 if start else 0)
    silence(scope, tops)
    return wanted


def silence(scope: Scope, tops: list[Blob]) -> None:
    """Let blobs that nothing reads be no outputs."""
    if tops:
        scope.layers("Silence", *tops, part="rest", tops=0)


def pooled_whole(scope: Scope, x: Blob, method: int) -> Blob:
    """The mean or the greatest value of each channel: (N, C, 1, 1)."""
    return scope.layer("Pooling", x, pool=method, global_pooling=True)


@converts("adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def _adaptive_average(scope: Scope) -> Blob:
    return _adaptive(scope, AVE) or resampled(scope, scope.blob())


@converts("adaptive_max_pool2d")
def _adaptive_max(scope: Scope) -> list[Blob]:
    top = _adaptive(scope, MAX)
    if top is None:
        raise scope.error(
            "its windows are not all of one size, as Caffe's are",
            hint="choose an output_size that divides the size of the image, or a MaxPool2d",
        )
    return [top]


def _adaptive(scope: Scope, method: int) -> Blob | None:
    """Windows side by side; None if they differ in size."""
    x = scope.blob()
    if len(x.shape) != 4:
        raise scope.error(f"Caffe pools images, (num, channels, height, width), got {x.shape}")
    wanted = [size or before for size, before in zip(scope.arg("output_size"), x.shape[2:], strict=True)]
    if wanted == list(x.shape[2:]):
        return x
    if wanted == [1, 1]:
        return pooled_whole(scope, x, method)
    height, width = (before // size for before, size in zip(x.shape[2:], wanted, strict=True))
    if [height * wanted[0], width * wanted[1]] != list(x.shape[2:]):
        return None
    return scope.layer("Pooling", x, pool=method, kernel_h=height, kernel_w=width, stride_h=height, stride_w=width)
