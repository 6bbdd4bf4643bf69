"""Layer, the base of all layer modules, and the registry that joins modules to type names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from google.protobuf.message import Message
from torch import Tensor, nn

from caffecompat.errors import CaffeCompatError, ShapeError, UnsupportedError, did_you_mean
from caffecompat.graph.spec import LayerSpec, message_param
from caffecompat.graph.spec import Shape as Shape
from caffecompat.layers.fillers import fill
from caffecompat.schema import LAYER_TYPES, caffe_pb2, layer_type

MAX_VALUES = 2**31 - 1
MAX_AXES = 32
# What fillers make: 4 GiB, twice what a binary weight file of Caffe can hold.
MAX_FILLED = 2**30
_PLAIN = (int, float, str, tuple, list, dict, LayerSpec)


class Layer(nn.Module):
    """A layer of Caffe as a module.

    A subclass declares its parameters in `__init__` (the bottoms' shapes decide their sizes and nothing
    else), says in `shapes` what tops it gives, and computes them in `forward`, which takes the bottoms and
    returns the top, or a tuple of all tops if there is not exactly one. `forward` never changes a bottom in
    place, and a top may be a view of a bottom. It reads `self.training`, never the phase of the spec.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__()
        self.spec = spec
        self.blob_names: list[str] = []
        self.declared_shapes: list[Shape] = []
        self._fillers: dict[str, caffe_pb2.FillerParameter | float] = {}
        # Shared parameters: where this layer's come from, and which layers use this one's.
        self._owners: dict[str, tuple[Layer, int]] = {}
        self._sharers: list[tuple[Layer, int]] = []

    def __setattr__(self, name: str, value: Any) -> None:
        # What can hold no parameter takes the short way: nn.Module's checks are half the cost of making a layer.
        if isinstance(value, _PLAIN):
            object.__setattr__(self, name, value)
        else:
            super().__setattr__(name, value)

    @property
    def message(self) -> Message:
        """The parameters of its own type, defaults included; typed by the subclass where it uses them."""
        message = message_param(self.spec)
        if message is None:
            raise TypeError(f"{self.spec.type} has no parameters")
        return message

    def declare(
        self,
        name: str,
        shape: Sequence[int],
        filler: caffe_pb2.FillerParameter | float = 0.0,
        *,
        learned: bool = True,
    ) -> None:
        """Add the next blob, without memory yet.

        Args:
            name: the attribute, and the last part of its key in `state_dict()`.
            shape: its shape; Caffe's limit is 2**31 - 1 values.
            filler: what fills it if no weight file does: a FillerParameter, or a constant.
            learned: a solver changes it; otherwise it is a buffer (BatchNorm's statistics).
        """
        if math.prod(size or 1 for size in shape) > MAX_VALUES or min(shape, default=0) < 0:
            raise self.error(
                f"parameter {name} would have shape {tuple(shape)}; at most {MAX_VALUES} values are possible"
            )
        empty = torch.empty(shape, device="meta")
        if learned:
            # Straight into the dictionary: register_parameter costs as much as all the rest of this method.
            wanted = self.spec.param(len(self.blob_names)).lr_mult != 0
            self._parameters[name] = nn.Parameter(empty, requires_grad=wanted)
        else:
            self.register_buffer(name, empty)
        self.blob_names.append(name)
        self.declared_shapes.append(tuple(shape))
        self._fillers[name] = filler

    @property
    def blobs(self) -> list[Tensor]:
        """Its parameters in Caffe's order, BatchNorm's statistics included."""
        return [getattr(self, name) for name in self.blob_names]

    def set_blob(self, index: int, value: Tensor) -> None:
        """Let blob `index`, and that of the layers that share it, be `value` itself: no copy."""
        name = self.blob_names[index]
        if name in self._buffers:
            self._buffers[name] = value.detach()
        elif isinstance(value, nn.Parameter):
            self._parameters[name] = value
        else:
            self._parameters[name] = nn.Parameter(value, requires_grad=getattr(self, name).requires_grad)
        for sharer, position in self._sharers:
            sharer._follow(position)

    def give(self, index: int, value: Tensor) -> None:
        """Take the values of `value` (of the blob's shape): the tensor itself if the blob has no memory yet."""
        name = self.blob_names[index]
        if name in self._owners:
            owner, source = self._owners[name]
            owner.give(source, value.view(owner.blobs[source].shape))
        elif getattr(self, name).is_meta:
            self.set_blob(index, value)
        else:
            with torch.no_grad():
                getattr(self, name).copy_(value)

    def share_blob(self, index: int, owner: Layer, source: int) -> None:
        """Use blob `source` of `owner` as blob `index`, seen in this layer's own shape."""
        self._owners[self.blob_names[index]] = (owner, source)
        owner._sharers.append((self, index))
        self._follow(index)

    def owner_of(self, index: int) -> tuple[Layer, int]:
        """The layer whose memory blob `index` is, and which of its blobs: itself, unless it is shared."""
        layer = self
        while (source := layer._owners.get(layer.blob_names[index])) is not None:
            layer, index = source
        return layer, index

    def refresh(self) -> None:
        """Take the views of parameters shared in another shape anew; the executor does it before each pass."""
        for name in self._owners:
            if name not in self._parameters and name not in self._buffers:
                self._follow(self.blob_names.index(name))

    def _follow(self, index: int) -> None:
        name = self.blob_names[index]
        owner, source = self._owners[name]
        value, shape = owner.blobs[source], getattr(self, name).shape
        if value.shape == shape and name in self._buffers:
            self._buffers[name] = value
        elif value.shape == shape and isinstance(value, nn.Parameter):
            self._parameters[name] = value
        else:
            self._parameters.pop(name, None)
            self._buffers.pop(name, None)
            object.__setattr__(self, name, value.view(shape))

    @property
    def unfilled(self) -> list[str]:
        """Names of its own blobs that have no memory yet."""
        return [name for name in self.blob_names if name not in self._owners and getattr(self, name).is_meta]

    def fill(self) -> list[str]:
        """Give memory and values to the blobs that have none yet; their names."""
        filled = self.unfilled
        for name in filled:
            with torch.no_grad():
                value = torch.empty(getattr(self, name).shape)
                fill(value, self._fillers[name], self.spec)
            self.set_blob(self.blob_names.index(name), value)
        return filled

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """The shapes of the tops, for bottoms of these shapes.

        Every layer here writes it out. This one, for layers of plug-ins that do not, runs `forward` on the meta
        device: it fails for a layer whose tops depend on values, and its first use in a process takes a second.
        """
        state = {name: blob.to("meta") for name, blob in zip(self.blob_names, self.blobs, strict=True)}
        with torch.no_grad():
            tops = torch.func.functional_call(self, state, tuple(torch.empty(b, device="meta") for b in bottoms))
        return tuple(tuple(top.shape) for top in ((tops,) if isinstance(tops, Tensor) else tops))

    def error(
        self, message: str, *, hint: str | None = None, kind: type[CaffeCompatError] = ShapeError
    ) -> CaffeCompatError:
        """An error that names this layer and its place: `raise self.error(...)`."""
        return self.spec.error(message, hint=hint, kind=kind)

    def axis(self, axis: int, dims: int) -> int:
        """An axis as Caffe counts it (negative from the end), as an index into `dims` axes."""
        if not -dims <= axis < dims:
            raise self.error(f"axis {axis} is out of range for a blob of {dims} axes")
        return axis % dims


L = TypeVar("L", bound=type[Layer])
_REGISTRY: dict[str, type[Layer]] = {}
# Of the types that mean several layers: their modules, and what chooses among them.
Chooser = Callable[[LayerSpec, Sequence[Shape]], type[Layer]]
_MEANINGS: dict[str, tuple[type[Layer], ...]] = {}
_CHOOSERS: dict[str, Chooser] = {}


def layer(*names: str) -> Callable[[L], L]:
    """Register the module class for one or more layer types; each must have a row in `LAYER_TYPES`."""

    def register(cls: L) -> L:
        for name in names:
            layer_type(name)
            known = _REGISTRY.get(name, cls)
            # The same class again: a notebook's cell that runs twice.
            if (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(f"layer type {name} has two modules: {known.__name__}, {cls.__name__}")
            _REGISTRY[name] = cls
        return cls

    return register


def meanings(name: str, *classes: type[Layer]) -> Callable[[Chooser], Chooser]:
    """Register what chooses the module class of a layer type that means different layers in different forks.

    Args:
        name: the type.
        classes: all that may be chosen, the commonest first.

    The function decorated takes the layer's spec and the shapes of its bottoms; where they do not tell, it raises
    an error that says how to choose.
    """

    def register(choose: Chooser) -> Chooser:
        layer(name)(classes[0])
        _MEANINGS[name] = classes
        _CHOOSERS[name] = choose
        return choose

    return register


def registered() -> dict[str, type[Layer]]:
    """The module class of every layer type that is implemented; the commonest if it has several meanings."""
    return dict(_REGISTRY)


def meanings_of(name: str) -> tuple[type[Layer], ...]:
    """All module classes of an implemented layer type."""
    return _MEANINGS.get(name) or (_REGISTRY[name],)


def build(spec: LayerSpec, bottoms: Sequence[Shape]) -> Layer:
    """The module of a layer, its parameters declared but without memory.

    Raises:
        SchemaError: a field within the layer that the schema does not know.
        UnsupportedError: the type is known and not implemented.
        ShapeError: the bottoms do not fit.
        CaffeCompatError: the type has several meanings, and nothing tells which is meant.
    """
    cls = _REGISTRY.get(spec.type)
    if cls is None:
        hint = did_you_mean(spec.type, set(_REGISTRY) - set(LAYER_TYPES))
        raise spec.error(f"layer type {spec.type} is not implemented", hint=hint, kind=UnsupportedError)
    try:
        choose = _CHOOSERS.get(spec.type)
        return (choose(spec, bottoms) if choose else cls)(spec, bottoms)
    except CaffeCompatError as error:
        spec.locate(error)
        raise
