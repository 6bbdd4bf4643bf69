"""The graph under construction: nodes and initializers, each with a name of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import NodeProto, helper

from caffecompat.export.onnx.values import NUMPY, Value
from caffecompat.export.sampling import Array
from caffecompat.graph.spec import BlobKey

# Constants of at most so many values are kept once for the whole graph.
_SHARED = 64


@dataclass
class Node:
    """A node; its names may change until the graph is finished."""

    type: str
    inputs: list[str]
    outputs: list[str]
    name: str
    attributes: dict[str, Any] = field(default_factory=dict)

    def proto(self) -> NodeProto:
        """The node as ONNX has it."""
        return helper.make_node(self.type, self.inputs, self.outputs, self.name, **self.attributes)


@dataclass
class Model:
    """What the emitters have written so far.

    Attributes:
        opset: the version of the operators.
        half: activations and weights are float16.
        nodes: in the order they run.
        initializers: arrays by name.
        inputs: the graph's inputs.
        outputs: the graph's outputs.
        parameters: the initializers of blobs, by owner, index, shape and type.
        names: the value's name of each blob.
        sizes: of the inputs and outputs, by name: numbers, names of what varies, or None.
    """

    opset: int
    half: bool = False
    nodes: list[Node] = field(default_factory=list)
    initializers: dict[str, Array] = field(default_factory=dict)
    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    parameters: dict[tuple[int, int, tuple[int, ...], int], Value] = field(default_factory=dict)
    names: dict[BlobKey, str] = field(default_factory=dict)
    sizes: dict[str, list[int | str | None]] = field(default_factory=dict)
    _values: dict[str, int] = field(default_factory=dict)
    _node_names: dict[str, int] = field(default_factory=dict)
    _constants: dict[tuple[str, tuple[int, ...], bytes], Value] = field(default_factory=dict)
    _casts: dict[tuple[str, int], Value] = field(default_factory=dict)

    def reserve(self, names: set[str]) -> None:
        """Keep these names of values free for those that are to have them."""
        self._values.update(dict.fromkeys(names, 1))

    def value_name(self, wanted: str) -> str:
        """`wanted`, or with a number if another value has that name."""
        return _unique(wanted, self._values)

    def node_name(self, wanted: str) -> str:
        """`wanted`, or with a number if another node has that name."""
        return _unique(wanted, self._node_names)

    def initializer(self, name: str, array: Array, dtype: int) -> Value:
        """A new initializer, its values not copied where they are of that type already."""
        name = self.value_name(name)
        self.initializers[name] = np.ascontiguousarray(array, dtype=NUMPY[dtype]).reshape(array.shape)
        return Value(name, dtype, array.shape)

    def constant(self, name: str, array: Array, dtype: int) -> Value:
        """An initializer; a small one is shared among all that have the same values."""
        array = np.asarray(array, dtype=NUMPY[dtype])
        if array.size > _SHARED:
            return self.initializer(name, array, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self.initializer(name, array, dtype)
        return self._constants[key]

    def cast(self, value: Value, dtype: int) -> Value:
        """`value` in another type; the same node for all that ask."""
        if value.dtype == dtype:
            return value
        key = (value.name, dtype)
        if key not in self._casts:
            suffix = np.dtype(NUMPY[dtype]).name
            output = self.value_name(f"{value.name}/{suffix}")
            name = self.node_name(f"{value.name}/Cast_{suffix}")
            self.nodes.append(Node("Cast", [value.name], [output], name, {"to": dtype}))
            self._casts[key] = Value(output, dtype, value.shape)
        return self._casts[key]


def _unique(wanted: str, taken: dict[str, int]) -> str:
    """A name that is not taken; `taken` has for each name the last number that was tried behind it."""
    name = wanted
    while name in taken:
        taken[wanted] += 1
        name = f"{wanted}_{taken[wanted]}"
    taken[name] = 1
    return name
