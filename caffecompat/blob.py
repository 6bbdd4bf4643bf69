"""Blob: data and diff as the users of pycaffe see them, NumPy arrays on the memory of tensors.

A view that was handed out stays valid: as long as somebody holds it, later passes copy into its memory; when nobody
does, the blob simply takes the tensor that a pass made.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from math import prod
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from caffecompat.errors import ShapeError, UsageError, quoted, shown
from caffecompat.graph.spec import Shape
from caffecompat.layers.base import MAX_AXES, MAX_VALUES, Layer

Floats = npt.NDArray[np.float32]


class _Copy:
    """The values of a tensor on a GPU as they were handed out, to be carried back before the tensor is used again.

    What the tensor is given meanwhile by others (an update, a weight file) goes before what is here.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.values = tensor.detach().to("cpu", torch.float32, copy=True).contiguous()
        self._version = tensor._version

    @property
    def counts(self) -> bool:
        """Whether the tensor has the values that were copied, but for what the user wrote."""
        return self.tensor._version == self._version

    def carry_back(self) -> None:
        """Give the tensor what the user wrote."""
        if self.counts:
            self.tensor.data.copy_(self.values)


# By place and size: blobs that share memory have one copy, as they have one in Caffe.
_COPIES: weakref.WeakValueDictionary[tuple[int, int], _Copy] = weakref.WeakValueDictionary()


def carry_back() -> None:
    """Carry what users wrote into copies of blobs on a GPU to the blobs."""
    while _COPIES:
        _COPIES.popitem()[1].carry_back()


def _place(tensor: Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), tensor.numel()


def _is_here(tensor: Tensor) -> bool:
    """Whether an array can lie on the tensor's memory."""
    return tensor.device.type == "cpu"


class _Memory:
    """One half of a blob, its data or its diff: a tensor, and the array that was handed out on it, or the copy."""

    def __init__(self) -> None:
        self.tensor: Tensor | None = None
        self._view: weakref.ref[Floats] | None = None
        self._copy: _Copy | None = None

    def own(self, shape: Shape, device: torch.device) -> Tensor:
        """The tensor, zeros if there was none; what the user wrote into a copy on the host is in it."""
        if self.tensor is None:
            self.tensor = torch.zeros(shape, device=device)
        self.flush()
        return self.tensor

    def flush(self) -> None:
        """Carry what the user wrote into the copy on the host, if there is one, to the tensor."""
        copied = _COPIES.pop(_place(self.tensor), None) if _COPIES and self.tensor is not None else None
        if copied is not None:
            copied.carry_back()
        self._copy = None

    def array(self, shape: Shape, device: torch.device) -> Floats:
        """An array on the memory, float32, in C's order."""
        held = self._view() if self._view is not None else None
        if held is not None and self.tensor is not None and _is_here(self.tensor):
            return held
        copied = _COPIES.get(_place(self.tensor)) if self.tensor is not None else None
        if copied is None or not copied.counts:
            tensor = self.own(shape, device)
            copied = None if _is_here(tensor) else _Copy(tensor)
        if copied is not None:
            self._copy = _COPIES[_place(copied.tensor)] = copied
            values: Floats = copied.values.view(shape).numpy()
            return values
        if tensor.dtype != torch.float32 or not tensor.is_contiguous():
            tensor = self.tensor = tensor.to(torch.float32).contiguous()
        array: Floats = tensor.detach().numpy()
        self._view = weakref.ref(array)
        return array

    def take(self, tensor: Tensor) -> Tensor:
        """Hold the values of `tensor`; the tensor that holds them: itself, or the one that a view lies on."""
        old = self.tensor
        if self._view is not None and old is not None:
            held = self._view()
            if held is not None and old.shape == tensor.shape:
                if old.data_ptr() != tensor.data_ptr():
                    # Not old.copy_: a gradient may still be asked for through the memory's earlier values, as in Caffe.
                    old.data.copy_(tensor)
                return old
            self._view = None
        self._copy = None
        self.tensor = tensor
        return tensor

    def follow(self, tensor: Tensor) -> None:
        """Be the memory of `tensor` from now on."""
        if self.tensor is None or self.tensor.data_ptr() != tensor.data_ptr():
            self._view = self._copy = None
            self.tensor = tensor

    def reshape(self, shape: Shape) -> None:
        """Another shape: the same memory if it holds as many values, else zeros when it is used."""
        if self.tensor is None or tuple(self.tensor.shape) == shape:
            return
        self._view = self._copy = None
        self.tensor = self.tensor.contiguous().view(shape) if self.tensor.numel() == prod(shape) else None


class Blob:
    """A blob: `data` and `diff`, and their shape.

    Args:
        shape: its sizes.
        device: where its memory is.

    Raises:
        ShapeError: a size is negative, or they are too many.
    """

    def __init__(self, shape: Iterable[int] = (), device: torch.device | None = None) -> None:
        self._shape = _checked(shape)
        self._device = device or torch.device("cpu")
        self._data = _Memory()
        self._diff = _Memory()

    @property
    def shape(self) -> Shape:
        """Its sizes."""
        return self._shape

    @property
    def count(self) -> int:
        """How many values it has."""
        return prod(self.shape)

    @property
    def num(self) -> int:
        """The first of the four sizes that old blobs had; those that are missing are 1."""
        return self._legacy(0)

    @property
    def channels(self) -> int:
        """The second of the four sizes that old blobs had."""
        return self._legacy(1)

    @property
    def height(self) -> int:
        """The third of the four sizes that old blobs had."""
        return self._legacy(2)

    @property
    def width(self) -> int:
        """The last of the four sizes that old blobs had."""
        return self._legacy(3)

    def _legacy(self, axis: int) -> int:
        if len(self.shape) > 4:
            raise UsageError(
                f"a blob of shape {self.shape} has more than the four sizes num, channels, height and width",
                hint="use shape",
            )
        return self.shape[axis] if axis < len(self.shape) else 1

    @property
    def data(self) -> Floats:
        """Its values, writable: float32 of its shape, on the memory that the next pass reads.

        On a GPU a copy: what is written to it counts from the next pass on, and later passes do not change it.
        """
        return self._data.array(self.shape, self._device)

    @property
    def diff(self) -> Floats:
        """The gradient of its values, writable, as `data`."""
        return self._diff.array(self.shape, self._device)

    def reshape(self, *shape: int) -> None:
        """Take another shape; values stay if they are as many.

        Raises:
            ShapeError: a size is negative, or they are too many.
        """
        sizes = _checked(shape)
        if sizes != self._shape:
            self._shape = sizes
            self._data.reshape(sizes)
            self._diff.reshape(sizes)

    # --- what the executor sees

    @property
    def tensor(self) -> Tensor:
        """Its values, as the last pass or the user left them."""
        return self._data.own(self.shape, self._device)

    @property
    def gradient(self) -> Tensor:
        """Its diff, as the last pass or the user left it."""
        return self._diff.own(self.shape, self._device)

    def take(self, tensor: Tensor) -> Tensor:
        """Take the values that a pass made.

        Returns:
            The tensor that holds them: `tensor` itself, or the memory of a view that somebody holds.
        """
        self._resize(tensor)
        return self._data.take(tensor)

    def take_gradient(self, tensor: Tensor) -> Tensor:
        """Take the gradient that a pass made; returns as `take`."""
        self._resize(tensor)
        return self._diff.take(tensor)

    def move(self, device: torch.device) -> None:
        """Put its memory on a device."""
        self._device = device
        for memory in (self._data, self._diff):
            memory.flush()
            if memory.tensor is not None and memory.tensor.device != device:
                memory.follow(memory.tensor.to(device))

    def _resize(self, tensor: Tensor) -> None:
        if tensor.shape != self._shape:
            self.reshape(*tensor.shape)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(shape={self.shape})"


class ParameterBlob(Blob):
    """A parameter of a layer: its data is the parameter's memory, its diff the gradient's, which passes add to.

    Args:
        layer: the layer.
        index: which of its blobs.
    """

    def __init__(self, layer: Layer, index: int) -> None:
        super().__init__()
        self._layer = layer
        self._index = index

    @property
    def shape(self) -> Shape:
        """Its sizes."""
        return tuple(self.tensor.shape)

    @property
    def tensor(self) -> Tensor:
        """The parameter."""
        return self._layer.blobs[self._index]

    @property
    def data(self) -> Floats:
        """Its values, writable, as those of every blob."""
        return self._array(self._data, self.tensor.detach())

    @property
    def diff(self) -> Floats:
        """What passes backward have added up, writable."""
        return self._array(self._diff, self.gradient)

    @property
    def gradient(self) -> Tensor:
        """The parameter's gradient; zeros if it had none."""
        owner = self._owner()
        if owner.grad is None:
            kept = self._diff.tensor
            fits = kept is not None and kept.shape == owner.shape and kept.device == owner.device
            owner.grad = kept.zero_() if kept is not None and fits else torch.zeros_like(owner)
        return owner.grad.view(self.shape)

    def add_gradient(self, gradient: Tensor) -> None:
        """Add what a pass backward found."""
        self.gradient.add_(gradient)

    def reshape(self, *shape: int) -> None:
        """Not possible: the layer decides.

        Raises:
            ShapeError: the shape is another one than it has.
        """
        if tuple(shape) != self.shape:
            raise self._layer.error(f"parameter {self._index} has shape {self.shape}, which its layer decides")

    def move(self, device: torch.device) -> None:
        """Nothing: the layer moves its parameters."""

    def _owner(self) -> Tensor:
        owner, index = self._layer.owner_of(self._index)
        return owner.blobs[index]

    def _array(self, memory: _Memory, tensor: Tensor) -> Floats:
        memory.follow(tensor)
        return memory.array(tuple(tensor.shape), tensor.device)


def _size(size: Any) -> int:
    try:
        return index(size)
    except TypeError:
        raise ShapeError(f"the sizes of a blob are whole numbers, got {quoted(size)}") from None


def _checked(shape: Iterable[Any]) -> Shape:
    sizes = tuple(_size(size) for size in shape)
    if min(sizes, default=0) < 0 or len(sizes) > MAX_AXES or prod(size or 1 for size in sizes) > MAX_VALUES:
        raise ShapeError(
            f"a blob cannot have shape {shown(str(sizes))}: at most {MAX_AXES} axes and {MAX_VALUES} values"
        )
    return sizes
