"""Layers that give the same values another shape or order: Reshape, Flatten, Permute, Tile."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor

from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import MAX_AXES, Layer, Shape, layer


@layer("Reshape")
class Reshape(Layer):
    """The same values in another shape.

    Caffe: `shape` replaces `num_axes` axes from `axis` on (-1: all that follow); a size of 0 copies the
    bottom's size at that place, and one size of -1 takes what is left. A negative `axis` counts from one
    past the last axis, so that -1 appends axes.

    bottom: any shape; top: as many values.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.reshape_param
        self._sizes = tuple(param.shape.dim)
        self._first, self._replaced = param.axis, param.num_axes
        if len(self._sizes) > MAX_AXES:
            raise self.error(f"a blob has at most {MAX_AXES} axes, got {len(self._sizes)} dims")
        if self._sizes.count(-1) > 1:
            raise self.error(f"at most one dim may be -1, got {self._wanted()}")
        if any(size < -1 for size in self._sizes):
            raise self.error(f"a dim is -1 (what is left), 0 (as the bottom) or a size, got {self._wanted()}")
        if self._replaced < -1:
            raise self.error(f"num_axes must be -1 (all that follow) or a count, got {self._replaced}")

    def _wanted(self) -> str:
        return f"shape {{ {' '.join(f'dim: {size}' for size in self._sizes)} }}"

    def _range(self, dims: int) -> tuple[int, int]:
        """The axes that `shape` replaces, from and up to."""
        start = self._first if self._first >= 0 else dims + self._first + 1
        end = dims if self._replaced == -1 else start + self._replaced
        if not 0 <= start <= dims or end > dims:
            raise self.error(
                f"axis {self._first} with num_axes {self._replaced} is out of range for a blob of {dims} axes"
            )
        return start, end

    def _target(self, bottom: Sequence[int]) -> list[int]:
        """The shape asked for, zeros replaced; -1 may remain. Sizes of `bottom` may be symbolic."""
        start, end = self._range(len(bottom))
        target = [*bottom[:start], *self._sizes, *bottom[end:]]
        for place, size in enumerate(self._sizes, start):
            if size == 0:
                if place >= len(bottom):
                    raise self.error(f"dim 0 at axis {place} has nothing to copy: the bottom has shape {tuple(bottom)}")
                target[place] = bottom[place]
        return target

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (bottom,) = bottoms
        target = self._target(bottom)
        count = prod(bottom)
        if -1 in self._sizes:
            place = self._range(len(bottom))[0] + self._sizes.index(-1)
            known = prod(size for index, size in enumerate(target) if index != place)
            if known == 0 or count % known:
                raise self.error(f"{count} values of shape {bottom} do not divide into {self._wanted()}")
            target[place] = count // known
        if prod(target) != count:
            raise self.error(f"{count} values of shape {bottom} do not fill shape {tuple(target)}")
        return (tuple(target),)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(self._target(x.shape))


@layer("Flatten")
class Flatten(Layer):
    """The axes from `axis` to `end_axis`, both included, as one.

    bottom: any shape; top: as many values. Caffe: `end_axis` just before `axis` adds an axis of size 1.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.flatten_param
        self._first, self._last = param.axis, param.end_axis

    def _range(self, dims: int) -> tuple[int, int]:
        start, end = self.axis(self._first, dims), self.axis(self._last, dims)
        if start > end + 1:
            raise self.error(f"axis {self._first} comes after end_axis {self._last} in a blob of {dims} axes")
        return start, end

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (bottom,) = bottoms
        start, end = self._range(len(bottom))
        return ((*bottom[:start], prod(bottom[start : end + 1]), *bottom[end + 1 :]),)

    def forward(self, x: Tensor) -> Tensor:
        start, end = self._range(x.ndim)
        return x.unsqueeze(start) if start > end else x.flatten(start, end)


@layer("Permute")
class Permute(Layer):
    """Axes in another order: `order` names the axes that come first; the others follow as they were.

    bottom: any shape; top: its sizes in the new order. (SSD branch.)
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        (bottom,) = bottoms
        order = list(spec.message.permute_param.order)
        for place, axis in enumerate(order):
            if axis >= len(bottom):
                raise self.error(f"order: {axis} is out of range for a blob of {len(bottom)} axes, shape {bottom}")
            if axis in order[:place]:
                raise self.error(f"order names axis {axis} twice")
        self._order = (*order, *(axis for axis in range(len(bottom)) if axis not in order))

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (bottom,) = bottoms
        return (tuple(bottom[axis] for axis in self._order),)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self._order)


@layer("Tile")
class Tile(Layer):
    """The bottom `tiles` times along `axis`.

    bottom: any shape; top: the size of `axis` times `tiles`.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.tile_param
        self._axis, self._tiles = param.axis, param.tiles
        if self._tiles < 1:
            stated = str(self._tiles) if param.HasField("tiles") else "none"
            raise self.error(f"tiles must be stated and positive, got {stated}")

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (bottom,) = bottoms
        axis = self.axis(self._axis, len(bottom))
        return ((*bottom[:axis], bottom[axis] * self._tiles, *bottom[axis + 1 :]),)

    def forward(self, x: Tensor) -> Tensor:
        axis = self.axis(self._axis, x.ndim)
        return x.repeat([self._tiles if index == axis else 1 for index in range(x.ndim)])
