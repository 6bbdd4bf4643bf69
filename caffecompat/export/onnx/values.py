"""Values of an ONNX graph, and sizes that are known only when it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from caffecompat.export.axes import Sizes

FLOAT = int(TensorProto.FLOAT)
HALF = int(TensorProto.FLOAT16)
DOUBLE = int(TensorProto.DOUBLE)
INT64 = int(TensorProto.INT64)
BOOL = int(TensorProto.BOOL)

NUMPY: dict[int, npt.DTypeLike] = {FLOAT: np.float32, HALF: np.float16, DOUBLE: np.float64, INT64: np.int64}


@dataclass(frozen=True)
class Value:
    """A value of the graph.

    Attributes:
        name: its name in the graph.
        dtype: its type, of `TensorProto.DataType`.
        shape: its sizes as far as they are known; None if nothing is.
    """

    name: str
    dtype: int
    shape: Sizes | None = None


class Symbol:
    """A size that is known only when the graph runs: arithmetic with it becomes nodes, when it is used.

    Attributes:
        axis: (value, axis), if it is simply the size of that axis.
    """

    def __init__(
        self,
        make: Callable[[], Value],
        compute: Callable[[str, Size, Size], Value],
        axis: tuple[Value, int] | None = None,
    ) -> None:
        self.axis = axis
        self._make = make
        self._compute = compute

    @cached_property
    def value(self) -> Value:
        """int64 of one element."""
        return self._make()

    def _join(self, operator: str, left: Size, right: Size) -> Symbol:
        return Symbol(partial(self._compute, operator, left, right), self._compute)

    def __add__(self, other: Size) -> Size:
        return self if other == 0 else self._join("Add", self, other)

    def __radd__(self, other: int) -> Size:
        return self + other

    def __sub__(self, other: Size) -> Size:
        return self if other == 0 else self._join("Sub", self, other)

    def __rsub__(self, other: int) -> Size:
        return self._join("Sub", other, self)

    def __mul__(self, other: Size) -> Size:
        return self if other == 1 else self._join("Mul", self, other)

    def __rmul__(self, other: int) -> Size:
        return self * other

    def __floordiv__(self, other: Size) -> Size:
        """The quotient of two sizes, neither below 0."""
        return self if other == 1 else self._join("Div", self, other)

    def least(self, other: Size) -> Size:
        """The smaller of two sizes."""
        return self._join("Min", self, other)

    def greatest(self, other: Size) -> Size:
        """The greater of two sizes."""
        return self._join("Max", self, other)


Size = int | Symbol


def least(a: Size, b: Size) -> Size:
    """The smaller of two sizes."""
    if isinstance(a, int):
        return min(a, b) if isinstance(b, int) else b.least(a)
    return a.least(b)


def greatest(a: Size, b: Size) -> Size:
    """The greater of two sizes."""
    if isinstance(a, int):
        return max(a, b) if isinstance(b, int) else b.greatest(a)
    return a.greatest(b)
