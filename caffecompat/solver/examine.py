"""The pass that failed, run once more to see which blob went wrong first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from caffecompat.data.source import Batch
from caffecompat.errors import CaffeCompatError
from caffecompat.graph.spec import BlobKey, Graph
from caffecompat.layers.base import Layer
from caffecompat.layers.data import DataLayer
from caffecompat.net import Net
from caffecompat.net.executor import Env
from caffecompat.net.learnable import Learnable
from caffecompat.solver.labels import LabelUse, label_uses

# The batches of a net's data layers, by the index of the layer.
Batches = Mapping[int, Batch]


@dataclass(frozen=True)
class Values:
    """What a tensor holds.

    Attributes:
        count: how many values.
        bad: how many of them are not finite.
        least: the least finite one; nan if there is none.
        greatest: the greatest finite one; nan if there is none.
    """

    count: int
    bad: int
    least: float
    greatest: float

    @property
    def size(self) -> float:
        """The greatest magnitude of a finite value; 0 if there is none."""
        return max((abs(value) for value in (self.least, self.greatest) if not math.isnan(value)), default=0.0)


@dataclass(frozen=True)
class LabelFault:
    """A label that a layer cannot take: the layer, the label, and the records that have such labels."""

    use: LabelUse
    label: float
    keys: tuple[str, ...]


@dataclass
class Examination:
    """What was seen.

    Attributes:
        net: the net.
        batches: what its data layers had read for the pass.
        layer: the first layer whose tops are not finite, of those that lead to the loss; None if all are.
        top: that top.
        values: what it holds.
        bottoms: what that layer's bottoms hold, by name.
        own: what that layer's parameters hold, by name.
        keys: the records of a data layer whose values are not finite.
        parameters: the parameters that are not finite.
        labels: labels that a layer cannot take.
        targets: what the targets of each SigmoidCrossEntropyLoss hold, by the layer's name.
        data: what the tops of the data layers hold, by the layer's index and the top's number.
        refused: the error of a layer in this second pass.
    """

    net: Net
    batches: Batches
    layer: Layer | None = None
    top: BlobKey | None = None
    values: Values | None = None
    bottoms: dict[str, Values] = field(default_factory=dict)
    own: dict[str, Values] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    parameters: list[Learnable] = field(default_factory=list)
    labels: list[LabelFault] = field(default_factory=list)
    targets: dict[str, Values] = field(default_factory=dict)
    data: dict[tuple[int, int], Values] = field(default_factory=dict)
    refused: CaffeCompatError | None = None


def batches_of(net: Net) -> Batches:
    """What the data layers read last."""
    return {
        index: layer.reader.batch
        for index, layer in enumerate(net.layers)
        if isinstance(layer, DataLayer) and layer.reader is not None and layer.reader.batch is not None
    }


def examine(net: Net, batches: Batches, device: torch.device) -> Examination:
    """Run the pass of these batches again, up to the first layer that goes wrong.

    Random numbers and statistics are afterwards what they were.

    Args:
        net: the net, with the parameters that the pass had.
        batches: what its data layers had read for the pass.
        device: where the net is.
    """
    seen = Examination(net, batches)
    seen.parameters = [
        item for item in net.learnable if isinstance(item.tensor, nn.Parameter) and not is_finite(item.tensor)
    ]
    env: Env = {}
    for index, batch in batches.items():
        tops = [torch.from_numpy(top).to(device) for top in batch.tops]
        env.update(zip(net.layers[index].spec.tops, tops, strict=True))
    watch = _Watch(seen)
    cuda = [device] if device.type == "cuda" else []
    with torch.no_grad(), torch.random.fork_rng(devices=cuda), unchanged_statistics(net):
        for index, layer in enumerate(net.layers):
            if index in batches:
                watch.after(index, layer, (), tuple(env[key] for key in layer.spec.tops))
            try:
                net.run(env, index, index + 1, watch, keep=frozenset())
            except CaffeCompatError as error:
                seen.refused = error
                break
            if seen.layer is not None:
                break
        watch.ends()
    return seen


class _Watch:
    """Looks at what each layer takes and gives (hooks of the executor)."""

    def __init__(self, seen: Examination) -> None:
        self._seen = seen
        self._wanted = leading_to_loss(seen.net.graph)
        self._uses = {use.spec.index: use for use in label_uses(seen.net.graph, seen.net.blob_shapes)}
        self._read: dict[BlobKey, Tensor] = {}
        self._reached = -1

    def before(self, index: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Look at the labels that the layer gets."""
        self._reached = index
        if len(bottoms) > 1:
            self._look(layer, bottoms[1])
        return bottoms

    def after(
        self, index: int, layer: Layer, bottoms: tuple[Tensor, ...], tops: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Note the first top that is not finite."""
        seen = self._seen
        for number, (key, top) in enumerate(zip(layer.spec.tops, tops, strict=True)):
            if layer.spec.row.data:
                seen.data[index, number] = values_of(top)
                self._read[key] = top
            if seen.layer is None and key in self._wanted and not is_finite(top):
                seen.layer, seen.top, seen.values = layer, key, values_of(top)
                names = (bottom.name for bottom in layer.spec.bottoms)
                seen.bottoms = {name: values_of(blob) for name, blob in zip(names, bottoms, strict=True)}
                seen.own = {name: values_of(blob) for name, blob in zip(layer.blob_names, layer.blobs, strict=True)}
                if index in seen.batches:
                    seen.keys = _keys_where(~torch.isfinite(top), seen.batches[index].keys)
        return tops

    def ends(self) -> None:
        """Look at the labels of the layers that were not reached, where they are read directly."""
        for layer in self._seen.net.layers[self._reached + 1 :]:
            if len(layer.spec.bottoms) > 1 and layer.spec.bottoms[1] in self._read:
                self._look(layer, self._read[layer.spec.bottoms[1]])

    def _look(self, layer: Layer, labels: Tensor) -> None:
        """Note labels that the layer cannot take, and targets."""
        use = self._uses.get(layer.spec.index)
        fault = label_fault(use, labels, self._seen.batches) if use is not None else None
        if fault is not None:
            self._seen.labels.append(fault)
        if layer.spec.type == "SigmoidCrossEntropyLoss":
            self._seen.targets[layer.spec.name] = values_of(labels)


def leading_to_loss(graph: Graph) -> set[BlobKey]:
    """The blobs that the loss is computed from, itself included."""
    wanted: set[BlobKey] = set()
    for spec in reversed(graph.layers):
        wanted.update(key for key, weight in zip(spec.tops, spec.loss_weights, strict=False) if weight)
        if not wanted.isdisjoint(spec.tops):
            wanted.update(spec.bottoms)
    return wanted


def label_fault(use: LabelUse, labels: Tensor, batches: Batches) -> LabelFault | None:
    """A label among `labels` that the layer cannot take, or None."""
    array = labels.detach().float().cpu().numpy()
    bad = use.outside(array)
    if not bad.any():
        return None
    several = {batch.keys for batch in batches.values() if len(batch.keys) == len(array)} if array.ndim else set()
    keys = _keys_where(torch.from_numpy(bad), several.pop()) if len(several) == 1 else ()
    return LabelFault(use, float(array[bad].flat[0]), keys)


def label_faults(net: Net, batches: Batches) -> list[LabelFault]:
    """The labels of these batches that layers which read them directly cannot take."""
    tops = {
        key: torch.from_numpy(top)
        for index, batch in batches.items()
        for key, top in zip(net.layers[index].spec.tops, batch.tops, strict=True)
    }
    uses = [use for use in label_uses(net.graph, net.blob_shapes) if use.labels in tops]
    faults = [label_fault(use, tops[use.labels], batches) for use in uses]
    return [fault for fault in faults if fault is not None]


def _keys_where(bad: Tensor, keys: tuple[str, ...]) -> tuple[str, ...]:
    """The keys of the items with something bad in them; none if the items are not along the first axis."""
    if not bad.ndim or bad.shape[0] != len(keys):
        return ()
    rows = bad.reshape(len(keys), -1).any(1).tolist()
    return tuple(key for key, row in zip(keys, rows, strict=True) if row)


def is_finite(tensor: Tensor) -> bool:
    """Whether all values are finite."""
    return bool(torch.isfinite(tensor.detach()).all())


def values_of(tensor: Tensor) -> Values:
    """What a tensor holds."""
    finite = torch.isfinite(tensor.detach())
    good = tensor.detach()[finite]
    least, greatest = (float(good.min()), float(good.max())) if good.numel() else (np.nan, np.nan)
    return Values(tensor.numel(), tensor.numel() - good.numel(), least, greatest)


def statistics(net: Net) -> list[Tensor]:
    """What layers learn without gradients: BatchNorm's means and variances."""
    return [item.tensor for item in net.learnable if not isinstance(item.tensor, nn.Parameter)]


@contextmanager
def unchanged_statistics(net: Net) -> Iterator[None]:
    """Have the net's statistics afterwards as they were before."""
    tensors = statistics(net)
    before = [tensor.clone() for tensor in tensors]
    try:
        yield
    finally:
        for tensor, kept in zip(tensors, before, strict=True):
            tensor.copy_(kept)
