"""Scope: what the emitter of one layer writes with."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import numpy as np
from onnx import helper

from caffecompat.errors import UnsupportedError
from caffecompat.export.axes import Sizes
from caffecompat.export.onnx.model import Model, Node
from caffecompat.export.onnx.values import HALF, INT64, Size, Symbol, Value
from caffecompat.export.sampling import Array
from caffecompat.layers.base import Layer

# What an operator takes: a value, a number of the layer's type, an array, nothing (an optional input left out).
Operand = Value | float | Array | None
_HALF_MAX = float(np.finfo(np.float16).max)
_AXES_AS_INPUT = 18


class Scope:
    """Writes the nodes of one layer: their names begin with its name.

    Attributes:
        layer: the layer.
        bottoms: its bottoms, in the type that it computes in.
        shapes: their sizes.
        tops: the sizes of its tops.
        dtype: the type of its floats.
        prefix: what the names of its nodes and values begin with.
    """

    def __init__(self, model: Model, layer: Layer, bottoms: Sequence[Value], tops: Sequence[Sizes], dtype: int) -> None:
        self.model = model
        self.layer = layer
        self.bottoms = tuple(bottoms)
        self.shapes: tuple[Sizes, ...] = tuple(value.shape or () for value in bottoms)
        self.tops = tuple(tops)
        self.dtype = dtype
        self.prefix = layer.spec.name or "layer"
        self._sizes: dict[tuple[str, int], Symbol] = {}

    # --- nodes

    def op(self, type_: str, *operands: Operand, dtype: int | None = None, **attributes: Any) -> Value:
        """A node with one output, of the type of its first input unless another is given."""
        return self.ops(type_, 1, *operands, dtype=dtype, **attributes)[0]

    def ops(
        self, type_: str, outputs: int, *operands: Operand, dtype: int | None = None, **attributes: Any
    ) -> tuple[Value, ...]:
        """A node with several outputs."""
        inputs = [None if operand is None else self.value(operand) for operand in operands]
        first = next((value.dtype for value in inputs if value is not None), self.dtype)
        names = [self.model.value_name(f"{self.prefix}/{type_}") for _ in range(outputs)]
        node = Node(
            type_,
            ["" if value is None else value.name for value in inputs],
            names,
            self.model.node_name(f"{self.prefix}/{type_}"),
            attributes,
        )
        self.model.nodes.append(node)
        return tuple(Value(name, first if dtype is None else dtype) for name in names)

    def value(self, operand: Value | float | Array) -> Value:
        """A number or an array as a constant; floats become the layer's type."""
        if isinstance(operand, Value):
            return operand
        array = np.asarray(operand)
        dtype = INT64 if array.dtype.kind == "i" and not isinstance(operand, int) else self.dtype
        return self.model.constant(f"{self.prefix}/constant", array, dtype)

    def ints(self, *values: int) -> Value:
        """A constant of int64 values along one axis."""
        return self.value(np.array(values, dtype=np.int64))

    def cast(self, value: Value, dtype: int) -> Value:
        """`value` in another type."""
        return value if value.dtype == dtype else self.op("Cast", value, dtype=dtype, to=dtype)

    # --- parameters

    def parameter(self, name: str, *sizes: int) -> Value:
        """A blob of the layer as an initializer, `layer.blob`; one for all layers that share it.

        Args:
            name: the blob's name.
            sizes: its shape in the graph, if not its own.
        """
        index = self.layer.blob_names.index(name)
        owner, source = self.layer.owner_of(index)
        shape = sizes or tuple(self.layer.blobs[index].shape)
        key = (id(owner), source, shape, self.dtype)
        if key not in self.model.parameters:
            array = owner.blobs[source].detach().cpu().float().numpy().reshape(shape)
            self.model.parameters[key] = self.initializer(owner.blob_names[source], array, owner.spec.name)
        return self.model.parameters[key]

    def initializer(self, name: str, array: Array, layer: str | None = None) -> Value:
        """An array as an initializer `layer.name` of the layer's type.

        Raises:
            UnsupportedError: a value does not fit into float16.
        """
        if self.dtype == HALF and array.size and not np.abs(array).max() <= _HALF_MAX:
            raise self.layer.error(
                f"{name} has a value of {np.abs(array).max():g}, float16 holds at most {_HALF_MAX:g}",
                hint="export in float32",
                kind=UnsupportedError,
            )
        return self.model.initializer(f"{self.prefix if layer is None else layer}.{name}", array, self.dtype)

    # --- sizes

    def size(self, value: Value, axis: int) -> Size:
        """The size of an axis: a number where it is known."""
        known = None if value.shape is None else value.shape[axis]
        if known is not None:
            return known
        key = (value.name, axis)
        if key not in self._sizes:
            make = partial(self.op, "Shape", value, dtype=INT64, start=axis, end=axis + 1)
            self._sizes[key] = Symbol(make, self._compute, (value, axis))
        return self._sizes[key]

    def sizes_of(self, value: Value) -> list[Size]:
        """The sizes of all axes of a bottom."""
        return [self.size(value, axis) for axis in range(len(value.shape or ()))]

    def _compute(self, operator: str, left: Size, right: Size) -> Value:
        return self.op(operator, *(self.sized(size) for size in (left, right)), dtype=INT64)

    def sized(self, size: Size) -> Value:
        """A size as int64 of one element."""
        return self.ints(size) if isinstance(size, int) else size.value

    def scalar(self, size: Size) -> Value:
        """A size as int64 without axes."""
        if isinstance(size, int):
            return self.value(np.array(size, dtype=np.int64))
        return self.op("Squeeze", size.value, self.ints(0))

    def vector(self, sizes: Sequence[Size]) -> Value:
        """Sizes as int64 along one axis."""
        fixed = [size for size in sizes if isinstance(size, int)]
        if len(fixed) == len(sizes):
            return self.ints(*fixed)
        return self.op("Concat", *map(self.sized, sizes), axis=0, dtype=INT64)

    # --- shapes

    def reshape(self, value: Value, sizes: Sequence[Size]) -> Value:
        """`value` in another shape; one size may be -1.

        Sizes that are not known need no node where they are an axis of `value` at the same place, or alone.
        """
        plain = [0 if _is_axis(size, value, place) else size for place, size in enumerate(sizes)]
        open_ = [place for place, size in enumerate(plain) if isinstance(size, Symbol)]
        if len(open_) == 1 and -1 not in plain:
            plain[open_[0]] = -1
        shape: Sizes = tuple(size if isinstance(size, int) and size > 0 else None for size in sizes)
        found = self.op("Reshape", value, self.vector(plain))
        return Value(found.name, found.dtype, shape)

    def flatten(self, value: Value, first: int, last: int) -> Value:
        """The axes from `first` to `last` of a bottom as one."""
        sizes = self.sizes_of(value)
        middle = sizes[first : last + 1]
        joined: Size = prod(size for size in middle if isinstance(size, int))
        for size in middle:
            if isinstance(size, Symbol):
                joined = -1
        return self.reshape(value, [*sizes[:first], joined, *sizes[last + 1 :]])

    def transpose(self, value: Value, *order: int) -> Value:
        """The axes in another order."""
        found = self.op("Transpose", value, perm=list(order))
        shape = None if value.shape is None else tuple(value.shape[axis] for axis in order)
        return Value(found.name, found.dtype, shape)

    def unsqueeze(self, value: Value, *axes: int) -> Value:
        """New axes of size 1."""
        return self.op("Unsqueeze", value, self.ints(*axes))

    def slice(self, value: Value, axis: int, start: Size, end: Size, step: int = 1) -> Value:
        """A part of an axis."""
        return self.op("Slice", value, self.sized(start), self.sized(end), self.ints(axis), self.ints(step))

    def reduce(self, type_: str, value: Value, axes: Sequence[int], *, keep: bool = True) -> Value:
        """ReduceMean, ReduceMax and the like."""
        if self.model.opset >= _AXES_AS_INPUT or type_ == "ReduceSum":
            return self.op(type_, value, self.ints(*axes), keepdims=int(keep))
        return self.op(type_, value, axes=list(axes), keepdims=int(keep))

    def fill(self, shape: Value, number: float, dtype: int | None = None) -> Value:
        """A tensor of one value, of a shape given as int64."""
        dtype = self.dtype if dtype is None else dtype
        return self.op("ConstantOfShape", shape, dtype=dtype, value=helper.make_tensor("value", dtype, [1], [number]))

    def error(self, message: str, hint: str | None = None) -> Exception:
        """What the layer asks for cannot be said in ONNX."""
        return self.layer.error(message, hint=hint, kind=UnsupportedError)


def _is_axis(size: Size, value: Value, place: int) -> bool:
    return isinstance(size, Symbol) and size.axis == (value, place)
