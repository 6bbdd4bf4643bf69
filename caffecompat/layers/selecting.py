"""Layers that choose items, and the layer that is a parameter: Filter, BatchReindex, Parameter."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from torch import Tensor

from caffecompat.errors import CaffeCompatError, GraphError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.layers.labels import as_labels


@layer("Filter")
class Filter(Layer):
    """The items of the other bottoms at which the last bottom, the selector (N, 1, ...), is not 0.

    How many that are depends on the values; `shapes` says N, as Caffe does before the first pass.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        if len(spec.tops) != len(spec.bottoms) - 1:
            raise self.error(
                f"needs a top for each bottom but the selector, the last: got {len(spec.bottoms)} bottoms, "
                f"{len(spec.tops)} tops",
                kind=GraphError,
            )

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        *filtered, selector = bottoms
        if not selector or prod(selector[1:]) != 1:
            raise self.error(f"the selector must have one value an item, got shape {selector}")
        for key, bottom in zip(self.spec.bottoms, filtered, strict=False):
            if bottom[:1] != selector[:1]:
                raise self.error(f'the selector chooses among {selector[0]} items; "{key.name}" has shape {bottom}')
        return tuple(filtered)

    def forward(self, *bottoms: Tensor) -> tuple[Tensor, ...]:
        *filtered, selector = bottoms
        places = selector.reshape(-1).nonzero().squeeze(1)
        return tuple(bottom.index_select(0, places) for bottom in filtered)


@layer("BatchReindex")
class BatchReindex(Layer):
    """The items of the first bottom in the order that the second (M,) names them; one may come several times.

    top: (M, ...).
    """

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        bottom, order = bottoms
        if len(order) != 1 or not bottom:
            raise self.error(f"the second bottom must have one axis, the items' numbers, got shapes {bottom}, {order}")
        return ((order[0], *bottom[1:]),)

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        chosen = as_labels(order, x.shape[0])
        if bool(chosen.outside.any()):
            bad = order[chosen.outside][0].item()
            raise self.error(f"item {bad:g} is asked for; there are items 0..{x.shape[0] - 1}", kind=CaffeCompatError)
        return x.index_select(0, chosen.index)


@layer("Parameter")
class Parameter(Layer):
    """Its one blob, of shape `parameter_param.shape`, as its top. Caffe: no filler, it begins as 0."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self._shape = tuple(spec.message.parameter_param.shape.dim)
        self.declare("0", self._shape)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        return (self._shape,)

    def forward(self) -> Tensor:
        return self.blobs[0]
