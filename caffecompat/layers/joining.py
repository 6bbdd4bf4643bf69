"""Layers that join blobs or take them apart along an axis: Concat, Slice, Crop, Split, Silence."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer


@layer("Concat")
class Concat(Layer):
    """The bottoms one after the other along `axis` (in old nets `concat_dim`, which cannot be negative).

    bottoms: equal shapes but for that axis; top: the sizes along it added.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.concat_param
        legacy = param.HasField("concat_dim")
        if legacy and param.HasField("axis"):
            raise self.error(f"axis {param.axis} and concat_dim {param.concat_dim} are both stated", hint="keep axis")
        self._axis = param.concat_dim if legacy else param.axis

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        first = bottoms[0]
        axis = self.axis(self._axis, len(first))
        for index, bottom in enumerate(bottoms[1:], 1):
            others = len(bottom) == len(first) and all(
                size == first[place] for place, size in enumerate(bottom) if place != axis
            )
            if not others:
                raise self.error(
                    f'bottom "{self.spec.bottoms[index].name}" has shape {bottom}, which does not join shape {first} '
                    f'of "{self.spec.bottoms[0].name}" along axis {axis}: the other axes must be equal'
                )
        return ((*first[:axis], sum(bottom[axis] for bottom in bottoms), *first[axis + 1 :]),)

    def forward(self, *bottoms: Tensor) -> Tensor:
        if len(bottoms) == 1:
            return bottoms[0]
        return torch.cat(bottoms, self.axis(self._axis, bottoms[0].ndim))


@layer("Slice")
class Slice(Layer):
    """The bottom in pieces along `axis` (in old nets `slice_dim`), one for each top.

    Without `slice_point` the pieces are equal; with it, each point is where the next piece begins.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.slice_param
        legacy = param.HasField("slice_dim")
        if legacy and param.HasField("axis"):
            raise self.error(f"axis {param.axis} and slice_dim {param.slice_dim} are both stated", hint="keep axis")
        self._axis = param.slice_dim if legacy else param.axis
        self._points = list(param.slice_point)
        self._tops = len(spec.tops)
        if self._points and len(self._points) != self._tops - 1:
            raise self.error(f"{self._tops} tops need {self._tops - 1} slice_point, got {len(self._points)}")

    def _sizes(self, size: int) -> list[int]:
        """The sizes of the pieces of an axis of this size, which may be symbolic."""
        if not self._points:
            if size % self._tops:
                raise self.error(f"an axis of size {size} does not divide into {self._tops} equal tops")
            return [size // self._tops] * self._tops
        edges = [0, *self._points, size]
        sizes = [end - start for start, end in pairwise(edges)]
        if any(piece <= 0 for piece in sizes):
            raise self.error(f"slice_point must rise from above 0 to below the axis's size {size}, got {self._points}")
        return sizes

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (bottom,) = bottoms
        axis = self.axis(self._axis, len(bottom))
        return tuple((*bottom[:axis], size, *bottom[axis + 1 :]) for size in self._sizes(bottom[axis]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        axis = self.axis(self._axis, x.ndim)
        return torch.split(x, self._sizes(x.shape[axis]), axis)


@layer("Crop")
class Crop(Layer):
    """The first bottom cut to the size of the second, on `axis` and all axes after it.

    `offset` says where the cut begins: nowhere stated 0, one for all these axes, or one for each. The
    second bottom gives its shape only.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.crop_param
        dims = len(bottoms[0])
        self._axis = self.axis(param.axis, dims)
        cut = dims - self._axis
        offsets = list(param.offset) or [0]
        if len(offsets) not in (1, cut):
            raise self.error(f"offset must be stated once or for each of the {cut} axes cut, got {offsets}")
        self._offsets = offsets * cut if len(offsets) == 1 else offsets

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        bottom, like = bottoms
        if len(like) < len(bottom):
            raise self.error(f"cannot cut shape {bottom} to shape {like}, which has fewer axes")
        for axis, offset in enumerate(self._offsets, self._axis):
            if offset + like[axis] > bottom[axis]:
                raise self.error(
                    f"axis {axis} of size {bottom[axis]} cannot be cut to size {like[axis]} from offset {offset} on"
                )
        return ((*bottom[: self._axis], *like[self._axis : len(bottom)]),)

    def forward(self, x: Tensor, like: Tensor) -> Tensor:
        for axis, offset in enumerate(self._offsets, self._axis):
            x = x.narrow(axis, offset, like.shape[axis])
        return x


@layer("Split")
class Split(Layer):
    """The bottom under several names; Caffe adds the gradients of the tops, and so does autograd."""

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        return bottoms * len(self.spec.tops)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (x,) * len(self.spec.tops)


@layer("Silence")
class Silence(Layer):
    """Takes blobs and gives nothing, so that they are no outputs of the net."""

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        return ()

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        return ()
