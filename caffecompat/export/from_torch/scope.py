"""Writer: the net in the making. Scope: what the converter of one operation reads and writes with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.fx import Node

from caffecompat.errors import CaffeCompatError, UnsupportedError, quoted
from caffecompat.export.from_torch.tracing import home, operation, place
from caffecompat.export.from_torch.values import Blob, Constant
from caffecompat.graph.spec import BlobKey, LayerSpec, Shape
from caffecompat.layers import build
from caffecompat.netspec.fields import assign_proto, holder
from caffecompat.schema import caffe_pb2

# They need their bottom no more, in training either, as Caffe has them.
_IN_PLACE = ("BatchNorm", "Dropout", "ReLU", "Scale")
_KINDS = {"_native_batch_norm_legit_no_training": "bn", "clone": "drop", "conv2d": "conv", "linear": "fc"}
_OPERATIONS = {"view": "reshape", "_unsafe_view": "reshape", "max_pool2d": "pool", "avg_pool2d": "pool"}
_WAY_OUT = (
    "put something in its place that Caffe has (docs/from_torch.md lists it), "
    "or keep the module in PyTorch: torch.onnx.export, torch.export"
)


class Writer:
    """The layers written so far and their parameters.

    Attributes:
        module: the module that is converted.
        message: the net.
        blobs: the parameters of its layers, by name.
        readers: how many operations are yet to read a blob, by its name.
    """

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module = module
        self.message = caffe_pb2.NetParameter(name=name)
        self.blobs: dict[str, list[np.ndarray[Any, np.dtype[np.float32]]]] = {}
        self.readers: Counter[str] = Counter()
        self._sources: dict[tuple[str, int], str] = {}
        self._names: set[str] = set()

    def unique(self, name: str) -> str:
        """`name`, or with `_2`, `_3`, ... behind it if it is taken."""
        candidate, number = name, 1
        while candidate in self._names:
            number += 1
            candidate = f"{name}_{number}"
        self._names.add(candidate)
        return candidate

    def input(self, name: str, shape: Shape) -> Blob:
        """An Input layer."""
        name = self.unique(name)
        layer = self.message.layer.add(name=name, type="Input", top=[name])
        layer.input_param.shape.add(dim=shape)
        blob = Blob(name, shape)
        self.readers[name] += 1  # so that nothing works in place on what the user feeds
        return blob

    def layer(
        self,
        type_: str,
        bottoms: Sequence[Blob],
        name: str,
        *,
        blobs: Sequence[Constant],
        tops: int,
        in_place: bool,
        fixed: bool,
        params: dict[str, Any],
    ) -> list[Blob]:
        """Add a layer; its tops. See `Scope.layers`."""
        name = self.unique(name)
        layer = caffe_pb2.LayerParameter(name=name, type=type_, bottom=[bottom.name for bottom in bottoms])
        overwrites = in_place and type_ in _IN_PLACE and not self.readers[bottoms[0].name]
        layer.top.extend([bottoms[0].name] if overwrites else [name] if tops == 1 else [])
        layer.top.extend(self.unique(f"{name}.{number}") for number in range(tops) if tops > 1)
        for field, value in params.items():
            assign_proto(holder(layer, field), field, value)
        keys = [BlobKey(bottom.name, 0) for bottom in bottoms]
        spec = LayerSpec(0, name, type_, tuple(keys), tuple(BlobKey(top, 1) for top in layer.top), layer)
        shapes = [bottom.shape for bottom in bottoms]
        module = build(spec, shapes)
        tops_made = [Blob(top, shape) for top, shape in zip(layer.top, module.shapes(*shapes), strict=True)]
        arrays = []
        for index, (constant, declared) in enumerate(zip(blobs, module.blobs, strict=True)):
            arrays.append(np.array(constant.tensor.detach().float().numpy(), order="C").reshape(declared.shape))
            if constant.source is not None and type_ != "BatchNorm":
                self._sources[name, index] = constant.source
        if fixed:
            for _ in blobs:
                layer.param.add(lr_mult=0, decay_mult=0)
        if arrays:
            self.blobs[name] = arrays
        self.message.layer.append(layer)
        return tops_made

    def share(self) -> None:
        """Let layers that use one parameter of the module share it."""
        counts = Counter(self._sources.values())
        for layer in self.message.layer:
            shared = {index: name for (owner, index), name in self._sources.items() if owner == layer.name}
            for index, name in shared.items():
                if counts[name] > 1:
                    while len(layer.param) <= index:
                        layer.param.add()
                    layer.param[index].name = name


class Scope:
    """One operation: its arguments, and the layers that are written for it.

    Attributes:
        node: the operation in the traced graph.
        operation: its name in ATen.
        name: what its layers are called: the module's path, or that and what is done where a module does several.
    """

    def __init__(self, writer: Writer, node: Node, values: dict[Node, Any]) -> None:
        self.writer = writer
        self.node = node
        self.operation = operation(node)
        self.path, self.kind = home(node)
        self._values = values
        self.name = self._named()

    def _named(self) -> str:
        plain = _OPERATIONS.get(self.operation, self.operation.strip("_"))
        if self.path.isdigit():
            return f"{_KINDS.get(self.operation, plain)}{self.path}"
        if self.kind.startswith("torch.nn.") and self.path:
            return self.path
        return f"{self.path}.{plain}" if self.path else plain

    # --- arguments

    def arg(self, name: str) -> Any:
        """An argument by its name in ATen's schema: values for nodes, the default if it is not given."""
        for index, argument in enumerate(self.node.target._schema.arguments):  # type: ignore[union-attr]
            if argument.name == name:
                if index < len(self.node.args):
                    return self._resolved(self.node.args[index])
                return self._resolved(self.node.kwargs.get(name, argument.default_value))
        raise TypeError(f"{self.operation} has no argument {name}")

    def _resolved(self, value: Any) -> Any:
        if isinstance(value, Node):
            return self._values[value]
        if isinstance(value, (list, tuple)):
            return [self._resolved(one) for one in value]
        return value

    def blob(self, name: str = "self") -> Blob:
        """An argument that has to be a blob.

        Raises:
            UnsupportedError: it is a constant.
        """
        value = self.arg(name)
        if not isinstance(value, Blob):
            raise self.error(f"expected {name} to depend on an input of the module")
        return value

    def constant(self, name: str) -> Constant | None:
        """An argument that has to be a constant, or None.

        Raises:
            UnsupportedError: it depends on the inputs.
        """
        value = self.arg(name)
        if isinstance(value, Blob):
            raise self.error(f"its {name} depends on an input of the module; Caffe's parameters are fixed")
        assert value is None or isinstance(value, Constant)
        return value

    def pair(self, name: str, axes: int = 2, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """An argument of a number for each of the last axes, given once or for each."""
        value = self.arg(name)
        values = [value] if isinstance(value, int) else list(value) or list(default or ())
        return tuple(values * axes if len(values) == 1 else values)

    @property
    def shape(self) -> Shape:
        """The shape of its result in the module."""
        return tuple(int(size) for size in self.node.meta["val"].shape)

    @property
    def users(self) -> list[str]:
        """The operations that read its result."""
        return [operation(user) if user.op == "call_function" else user.op for user in self.node.users]

    @property
    def dropout(self) -> float | None:
        """The ratio of the nn.Dropout that the operation belongs to, or None."""
        module = self.writer.module.get_submodule(self.path) if self.kind.startswith("torch.nn.") else None
        return float(module.p) if isinstance(module, nn.Dropout) else None

    # --- layers

    def layer(self, type_: str, *bottoms: Blob, **given: Any) -> Blob:
        """Add a layer of one top; see `layers`."""
        return self.layers(type_, *bottoms, **given)[0]

    def layers(
        self,
        type_: str,
        *bottoms: Blob,
        part: str = "",
        blobs: Sequence[Constant | Tensor] = (),
        tops: int = 1,
        in_place: bool = True,
        fixed: bool = False,
        **params: Any,
    ) -> list[Blob]:
        """Add a layer.

        Args:
            type_: its type.
            bottoms: its bottoms.
            part: what is put behind the operation's name, where it takes several layers.
            blobs: its parameters, in Caffe's order and any shape of as many values.
            tops: how many tops it has.
            in_place: it may overwrite its bottom if no other operation reads that and its type allows it.
            fixed: its parameters are none of the module's: no solver is to change them.
            params: fields of its messages.
        """
        try:
            return self.writer.layer(
                type_,
                bottoms,
                f"{self.name}.{part}" if part else self.name,
                blobs=[blob if isinstance(blob, Constant) else Constant(blob) for blob in blobs],
                tops=tops,
                in_place=in_place,
                fixed=fixed,
                params=params,
            )
        except CaffeCompatError as error:
            raise self.error(f"Caffe's {type_} does not take it: {error.message}") from error

    def reshaped(self, x: Blob, shape: Sequence[int], part: str = "shape") -> Blob:
        """`x` in another shape of as many values; the number of images stays open where that is possible."""
        shape = tuple(shape)
        if shape == x.shape:
            return x
        axis = len(shape) - 1
        if 0 < axis < len(x.shape) and shape[:axis] == x.shape[:axis]:
            return self.layer("Flatten", x, part=part, axis=axis)
        if not shape:
            return self.layer("Reduction", x, part=part)
        open_ = bool(x.shape) and shape[0] == x.shape[0]
        return self.layer("Reshape", x, part=part, shape={"dim": [0, *shape[1:]] if open_ else list(shape)})

    def error(self, message: str, hint: str | None = None) -> CaffeCompatError:
        """What the operation asks for has no form in Caffe; names the module, the operation and the line."""
        where = f"module {quoted(self.path)}" if self.path else "the module itself"
        fault = UnsupportedError(f"{where}, {self.operation}: {message}", hint=hint or _WAY_OUT)
        if (found := place(self.node)) is not None:
            fault.add_context(file=found[0], line=found[1])
        return fault


def filled(*shape: int, value: float = 1.0) -> Tensor:
    """A constant tensor."""
    return torch.full(shape, value)
