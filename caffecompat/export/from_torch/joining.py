"""Blobs joined, and parts of them."""

from __future__ import annotations

from caffecompat.export.from_torch.pooling import cut, silence
from caffecompat.export.from_torch.registry import converts
from caffecompat.export.from_torch.resampling import resampled
from caffecompat.export.from_torch.scope import Scope
from caffecompat.export.from_torch.values import Blob
from caffecompat.schema import caffe_pb2


@converts("cat", "stack")
def _concatenation(scope: Scope) -> Blob:
    parts = scope.arg("tensors")
    if not all(isinstance(part, Blob) for part in parts):
        raise scope.error("a fixed tensor cannot be joined to blobs: Caffe's Concat takes blobs alone")
    axis = scope.arg("dim") % len(scope.shape)
    if scope.operation == "stack":
        parts = [scope.reshaped(x, (*x.shape[:axis], 1, *x.shape[axis:]), "axis") for x in parts]
    parts = [part for part in parts if 0 not in part.shape]
    return scope.layer("Concat", *parts, **({"axis": axis} if axis != 1 else {}))


@converts("split", "split_with_sizes", "unbind")
def _split(scope: Scope) -> list[Blob]:
    x = scope.blob()
    axis = scope.arg("dim") % len(x.shape)
    sizes = [1 if scope.operation == "unbind" else part.shape[axis] for part in scope.node.meta["val"]]
    points = [sum(sizes[:index]) for index in range(1, len(sizes))]
    tops = [x]
    if points:
        tops = scope.layers("Slice", x, tops=len(sizes), axis=axis, slice_point=points)
    used = {user.args[1] for user in scope.node.users}
    silence(scope, [top for index, top in enumerate(tops) if index not in used and points])
    if scope.operation == "unbind":
        shape = (*x.shape[:axis], *x.shape[axis + 1 :])
        tops = [scope.reshaped(top, shape, "axis") if index in used else top for index, top in enumerate(tops)]
    return tops


@converts("slice")
def _part(scope: Scope) -> Blob:
    x, step = scope.blob(), scope.arg("step")
    axis = scope.arg("dim") % len(x.shape)
    start, end, _ = slice(scope.arg("start"), scope.arg("end")).indices(x.shape[axis])
    if end <= start:
        raise scope.error("nothing is left of it")
    if step == 1:
        return cut(scope, x, axis, start, end, part="")
    if axis not in (2, 3):
        raise scope.error("only rows and columns of images can be taken in steps")
    return resampled(scope, x)


@converts("select")
def _select(scope: Scope) -> Blob:
    x = scope.blob()
    axis = scope.arg("dim") % len(x.shape)
    index = scope.arg("index") % x.shape[axis]
    return scope.reshaped(cut(scope, x, axis, index, index + 1, part=""), scope.shape)


@converts("glu")
def _glu(scope: Scope) -> Blob:
    x = scope.blob()
    axis = scope.arg("dim") % len(x.shape)
    left, right = scope.layers("Slice", x, part="halves", tops=2, axis=axis)
    gate = scope.layer("Sigmoid", right, part="gate")
    return scope.layer("Eltwise", left, gate, operation=caffe_pb2.EltwiseParameter.PROD)
