"""The executor: runs the layers of a net over an environment of blobs.

Plain calls and the Solver run it under one autograd graph. With hooks it runs layer by layer on what the
hooks hand it: pycaffe's tape detaches each layer's inputs there, so that partial passes, edited blobs and
diffs set in the middle work.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from torch import Tensor

from caffecompat.errors import CaffeCompatError, ShapeError
from caffecompat.graph.spec import BlobKey, Graph
from caffecompat.layers.base import Layer

Env = dict[BlobKey, Tensor]


class Hooks(Protocol):
    """What may stand between the executor and a layer."""

    def before(self, index: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The tensors that the layer gets for these bottoms."""
        ...

    def after(
        self, index: int, layer: Layer, bottoms: tuple[Tensor, ...], tops: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """The tensors that become the layer's tops; `bottoms` are those that `before` gave."""
        ...


class Executor:
    """Runs layers `start` to `end` of a graph; knows after which layer a blob is of no more use."""

    def __init__(self, graph: Graph, layers: Sequence[Layer]) -> None:
        self._layers = list(layers)
        self._sources = [layer.spec.row.data for layer in layers]
        self._reshaped = [any(spec.owner and spec.permissive for spec in layer.spec.params) for layer in layers]
        last_use: dict[BlobKey, int] = {}
        for index, spec in enumerate(graph.layers):
            for key in (*spec.bottoms, *spec.tops):
                last_use[key] = index
        self._dead_after: list[list[BlobKey]] = [[] for _ in graph.layers]
        for key, index in last_use.items():
            self._dead_after[index].append(key)

    def replace(self, index: int, layer: Layer) -> None:
        """Run another layer in the place of one, with the same bottoms and tops."""
        self._layers[index] = layer

    def run(
        self,
        env: Env,
        start: int = 0,
        end: int | None = None,
        hooks: Hooks | None = None,
        keep: Collection[BlobKey] | None = None,
    ) -> None:
        """Run the layers `start` up to, not including, `end`; `env` gives the bottoms and takes the tops.

        A data layer whose tops are all in `env` does not run: they were fed.

        Args:
            env: the blobs by name and version; changed in place.
            start: index of the first layer.
            end: index after the last layer; None means all.
            hooks: see `Hooks`.
            keep: if given, every other blob leaves `env` after its last use.

        Raises:
            CaffeCompatError: a layer refuses its bottoms; it names the layer.
        """
        stop = len(self._layers) if end is None else end
        for index in range(start, stop):
            layer = self._layers[index]
            spec = layer.spec
            if not (self._sources[index] and all(key in env for key in spec.tops)):
                bottoms = tuple([env[key] for key in spec.bottoms])
                if hooks is not None:
                    bottoms = hooks.before(index, layer, bottoms)
                if self._reshaped[index]:
                    layer.refresh()
                tops = call_layer(layer, bottoms)
                if hooks is not None:
                    tops = hooks.after(index, layer, bottoms, tops)
                env.update(zip(spec.tops, tops, strict=True))
            if keep is not None:
                for key in self._dead_after[index]:
                    if key not in keep:
                        env.pop(key, None)


def call_layer(layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The tops of a layer.

    Raises:
        CaffeCompatError: it refuses its bottoms; the error names it.
    """
    try:
        tops = layer(*bottoms)
    except CaffeCompatError as error:
        layer.spec.locate(error)
        raise
    except (RuntimeError, ValueError, IndexError, ArithmeticError, MemoryError) as error:
        # PyTorch's ways of refusing what a layer hands it; the layer itself may say better what it expects.
        try:
            layer.shapes(*(tuple(blob.shape) for blob in bottoms))
        except CaffeCompatError as fault:
            raise layer.spec.locate(fault) from error
        shapes = ", ".join(
            f"{key.name} {tuple(blob.shape)}" for key, blob in zip(layer.spec.bottoms, bottoms, strict=True)
        )
        reason = next(iter(str(error).splitlines()), "not enough memory")
        raise layer.error(f"{layer.spec.type} failed on {shapes or 'no bottoms'}: {reason}", kind=ShapeError) from error
    return (tops,) if isinstance(tops, Tensor) else tuple(tops)
