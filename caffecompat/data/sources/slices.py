"""Slice: which rows and columns dilation's data layers keep (message Slice of fyu/caffe-dilation)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from caffecompat.graph.spec import LayerSpec
from caffecompat.schema import caffe_pb2

Pair = tuple[int, int]
Value = TypeVar("Value", bound=np.generic)


class Cut(NamedTuple):
    """Element (r, c) of what is kept is that at offset + (r, c) * stride; (rows, columns) each."""

    dim: Pair
    stride: Pair
    offset: Pair

    @property
    def end(self) -> Pair:
        """The least size that holds all of it."""
        (rows, columns), (down, right), (top, left) = self
        return top + (rows - 1) * down + 1, left + (columns - 1) * right + 1

    def of(self, values: npt.NDArray[Value]) -> npt.NDArray[Value]:
        """What is kept of the last two axes, as far as these reach."""
        (rows, columns), (down, right), (top, left) = self
        return values[..., top::down, left::right][..., :rows, :columns]


def read_cut(spec: LayerSpec, name: str, message: caffe_pb2.Slice, *, pairs: bool, one_dim: bool = False) -> Cut:
    """A Cut from its message.

    Args:
        spec: the layer, for errors.
        name: the field that holds the message.
        message: the message.
        pairs: stride and offset must state both values; else one serves both, and none means 1 and 0.
        one_dim: one value of dim serves both.

    Raises:
        CaffeCompatError: a value is missing or one too many, or a dim or a stride is 0.
    """
    dim = _pair(spec, f"{name}.dim", message.dim, (1,) * one_dim)
    stride = _pair(spec, f"{name}.stride", message.stride, () if pairs else (0, 1), 1)
    offset = _pair(spec, f"{name}.offset", message.offset, () if pairs else (0, 1), 0)
    if min(*dim, *stride) < 1:
        raise spec.error(f"{name}: expected dim and stride of at least 1, got {dim} and {stride}")
    return Cut(dim, stride, offset)


def _pair(spec: LayerSpec, name: str, values: Iterable[int], fewer: tuple[int, ...], default: int = 0) -> Pair:
    """Two values; `fewer` are the other numbers of values that may be stated."""
    stated = tuple(values)
    if len(stated) == 2:
        return int(stated[0]), int(stated[1])
    if len(stated) not in fewer:
        allowed = " or ".join(str(count) for count in (*fewer, 2))
        raise spec.error(
            f"expected {allowed} values of {name} (rows, columns), got {len(stated)}",
            hint=f"state them as {name.rpartition('.')[2]}: ROWS {name.rpartition('.')[2]}: COLUMNS",
        )
    return (int(stated[0]),) * 2 if stated else (default,) * 2
