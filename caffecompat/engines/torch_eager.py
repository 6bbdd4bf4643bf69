"""Engine "torch": the net's own layers, with convolutions of a faster form, channels last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from caffecompat.engines.convolving import convolution, inner_product
from caffecompat.engines.programs import Program, ProgramEngine
from caffecompat.engines.winograd import Scratch
from caffecompat.graph.spec import BlobKey, Graph, LayerSpec
from caffecompat.layers.base import Layer
from caffecompat.layers.convolution import Convolution
from caffecompat.layers.inner_product import InnerProduct
from caffecompat.layers.neurons import ReLU
from caffecompat.net import Net
from caffecompat.net.executor import call_layer

# What they do loses nothing on bfloat16: they move or compare values.
_KEEPING = frozenset(("Concat", "Crop", "Flatten", "Permute", "Pooling", "ReLU", "Reshape", "Slice", "Split"))
Call = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True)
class Step:
    """A call, what it reads and makes, and what nobody reads after it."""

    call: Call
    bottoms: tuple[BlobKey, ...]
    tops: tuple[BlobKey, ...]
    dead: list[BlobKey] = field(default_factory=list)


class TorchEngine(ProgramEngine):
    """The net in eager PyTorch."""

    name = "torch"

    def build(self, trunk: Net, *, any_batch: bool) -> Program:
        """See `ProgramEngine.build`; a program takes any number of images."""
        dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        maker = _Maker(trunk, dtype, Scratch())
        fused = _fused_relus(trunk)
        steps = []
        for layer in trunk.layers:
            spec = layer.spec
            if not (spec.row.data and spec.type != "DummyData") and spec.index not in fused.values():
                relu = fused.get(spec.index)
                tops = spec.tops if relu is None else trunk.graph.layers[relu].tops
                steps.append(Step(maker.call(layer, relu=relu is not None), spec.bottoms, tops))
        return _Program(steps, trunk.graph)


class _Maker:
    """Makes the calls of a net's layers."""

    def __init__(self, trunk: Net, dtype: torch.dtype, scratch: Scratch) -> None:
        self._trunk = trunk
        self._dtype = dtype
        self._scratch = scratch

    def call(self, layer: Layer, *, relu: bool) -> Call:
        spec = layer.spec
        if isinstance(layer, Convolution) and _over_pictures(layer):
            bottom = self._trunk.blob_shapes[spec.bottoms[0]]
            run = convolution(layer, bottom, self._scratch, self._dtype, relu=relu)
            return lambda x: (run(x),)
        if isinstance(layer, InnerProduct):
            product = inner_product(layer, self._dtype, relu=relu)
            return lambda x: (product(x),)
        if self._dtype == torch.float32 or spec.type in _KEEPING:
            return lambda *bottoms: call_layer(layer, bottoms)
        return lambda *bottoms: call_layer(layer, tuple(blob.float() for blob in bottoms))


class _Program:
    """The steps of a trunk; one thread at a time, for they share memory."""

    def __init__(self, steps: Sequence[Step], graph: Graph) -> None:
        self._steps = steps
        self._graph = graph
        self._lock = threading.Lock()
        last: dict[BlobKey, Step] = {}
        for step in steps:
            last.update(dict.fromkeys((*step.bottoms, *step.tops), step))
        for key, step in last.items():
            if key not in graph.outputs:
                step.dead.append(key)

    def __call__(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        env = {key: inputs[key.name] for key in self._graph.inputs}
        with self._lock:
            for step in self._steps:
                env.update(zip(step.tops, step.call(*[env[key] for key in step.bottoms]), strict=True))
                for key in step.dead:
                    del env[key]
        return {key.name: env[key].float() for key in self._graph.outputs}


def _over_pictures(layer: Convolution) -> bool:
    return layer.spatial_axes == 2 and layer.channel_axis == 1 and len(layer.spec.bottoms) == 1


def _fused_relus(trunk: Net) -> dict[int, int]:
    """The layers that do a ReLU's work besides, by index, each with the index of the ReLU behind it."""
    readers: dict[BlobKey, list[LayerSpec]] = {}
    for spec in trunk.graph.layers:
        for key in spec.bottoms:
            readers.setdefault(key, []).append(spec)
    found = {}
    for layer in trunk.layers:
        spec = layer.spec
        if not (isinstance(layer, InnerProduct) or (isinstance(layer, Convolution) and _over_pictures(layer))):
            continue
        behind = readers.get(spec.tops[0], [])
        if len(behind) == 1 and spec.tops[0] not in trunk.graph.outputs:
            relu = trunk.layers[behind[0].index]
            if isinstance(relu, ReLU) and not relu.negative_slope:
                found[spec.index] = behind[0].index
    return found
