"""Axes: joined, split, put in another order; and what changes nothing."""

from __future__ import annotations

from typing import Any

from torch.fx import Node

from caffecompat.export.from_torch.convolving import shuffled
from caffecompat.export.from_torch.registry import converts
from caffecompat.export.from_torch.scope import Scope
from caffecompat.export.from_torch.tracing import operation
from caffecompat.export.from_torch.values import Blob

_VIEWS = ("view", "reshape", "_unsafe_view")


@converts("alias", "clone", "contiguous", "detach", "lift_fresh_copy", "to", "_to_copy")
def _unchanged(scope: Scope) -> Blob:
    """The blob itself; Dropout, which is a copy in evaluation, stays for training in Caffe."""
    x = scope.blob()
    dropout = scope.dropout
    return x if dropout is None else scope.layer("Dropout", x, dropout_ratio=dropout)


@converts("view", "reshape", "_unsafe_view", "squeeze", "unsqueeze", "flatten", "unflatten")
def _reshape(scope: Scope) -> Blob:
    x, shape = scope.blob(), scope.shape
    if x.flat is not None and x.shape == shape:
        return Blob(x.name, x.shape)  # the end of a shuffle
    if len(x.shape) > 2 and x.shape[:1] == shape[:1] and len(shape) == 2 and set(scope.users) == {"linear"}:
        return Blob(x.name, x.shape, flat=shape)
    if _is_shuffle(scope.node, x):
        return Blob(x.name, x.shape, flat=shape)
    return scope.reshaped(x, shape, part="")


def _is_shuffle(node: Node, x: Blob) -> bool:
    """Whether the channels are split into groups here only to be shuffled (ShuffleNet)."""
    shape = tuple(node.meta["val"].shape)
    split = len(shape) == len(x.shape) + 1 and shape[:1] + shape[3:] == x.shape[:1] + x.shape[2:]
    if not split or len(x.shape) < 3 or len(node.users) != 1:
        return False
    (turn,) = node.users
    if operation(turn) not in ("transpose", "permute") or len(turn.users) != 1:
        return False
    wanted = (shape[0], shape[2], shape[1], *shape[3:])
    following = next(iter(turn.users))
    if operation(following) in ("clone", "contiguous") and len(following.users) == 1:
        following = next(iter(following.users))
    joins = operation(following) in _VIEWS and tuple(following.meta["val"].shape) == x.shape
    return joins and tuple(turn.meta["val"].shape) == wanted and _order(turn)[:3] == [0, 2, 1]


def _order(node: Node) -> list[int]:
    """The axes of the bottom in the order of the top."""
    axes = len(node.meta["val"].shape)
    args: list[Any] = list(node.args[1:])
    if operation(node) == "permute":
        return [axis % axes for axis in args[0]]
    order = list(range(axes))
    one, other = (axis % axes for axis in (args or (0, 1)))
    order[one], order[other] = order[other], order[one]
    return order


@converts("transpose", "permute", "t", "numpy_T")
def _permute(scope: Scope) -> Blob:
    x, order = scope.blob(), _order(scope.node)
    if x.flat is not None:
        # The shuffle that `reshape` has foreseen; the view behind finds the shape that it asks for.
        top = shuffled(scope, Blob(x.name, x.shape), x.flat[1])
        return Blob(top.name, top.shape, flat=scope.shape)
    moved = [axis for axis in order if x.shape[axis] != 1]
    if moved == sorted(moved):
        return scope.reshaped(x, scope.shape, part="")
    return scope.layer("Permute", x, order=order)
