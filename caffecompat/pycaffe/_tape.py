"""The tape: a pass layer by layer, each with a graph of gradients of its own.

Every layer's bottoms are cut off from what made them, so that passes may begin and end anywhere, blobs may be edited
in between, and diffs may be set in the middle, as in the original.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from caffecompat.blob import Blob, ParameterBlob
from caffecompat.graph.spec import BlobKey
from caffecompat.layers.base import Layer
from caffecompat.net import Net
from caffecompat.pycaffe._needs import Need

# Their tops are the bottom's memory in the original as well; of other layers' tops a view is copied.
_SHARING = ("Split", "Reshape", "Flatten")


class _Entry(NamedTuple):
    """What a layer was given, and what it made of that if its gradients are kept."""

    bottoms: tuple[Tensor, ...]
    tops: tuple[Tensor, ...] | None


class Tape:
    """Stands between the executor and the layers (`net.Hooks`): hands blobs over, and remembers for the way back.

    Args:
        net: the net.
        blobs: the blob of each key.
        parameters: the parameters of each layer.
        needs: what a pass backward does at each layer.

    Attributes:
        keeps: whether passes keep what gradients need. If not, a pass backward computes its layers once more, which
            gives the same values in phase TEST only.
    """

    def __init__(
        self,
        net: Net,
        blobs: Mapping[BlobKey, Blob],
        parameters: Sequence[Sequence[ParameterBlob]],
        needs: Sequence[Need],
    ) -> None:
        self.keeps = False
        self._net = net
        self._needs = needs
        self._parameters = parameters
        self._bottoms = [tuple(blobs[key] for key in layer.spec.bottoms) for layer in net.layers]
        self._tops = [tuple(blobs[key] for key in layer.spec.tops) for layer in net.layers]
        # A blob that a later layer changes in place: what comes in between must not be overwritten by that.
        final = set(net.graph.last.values())
        self._replaced = [
            tuple(key not in final and key.name in net.graph.last for key in layer.spec.tops) for layer in net.layers
        ]
        self._entries: list[_Entry | None] = [None] * len(net.layers)

    def before(self, index: int, layer: Layer, bottoms: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """The bottoms, cut off; those that get a gradient remember what is made of them."""
        need = self._needs[index]
        if not self.keeps or not need.visited:
            return bottoms
        torch.set_grad_enabled(True)
        return _cut_off(bottoms, need)

    def after(
        self, index: int, layer: Layer, bottoms: tuple[Tensor, ...], tops: tuple[Tensor, ...]
    ) -> tuple[Tensor, ...]:
        """Put the tops into their blobs."""
        torch.set_grad_enabled(False)
        self._entries[index] = _Entry(bottoms, tops if self.keeps and self._needs[index].visited else None)
        given = []
        blobs = self._tops[index]
        for place, top in enumerate(tops):
            blob = blobs[place]
            top = top.detach()
            if layer.spec.type not in _SHARING and blob not in self._bottoms[index] and _shares(top, bottoms):
                top = top.clone()
            held = blob.take(top)
            given.append(top if self._replaced[index][place] else held)
        return tuple(given)

    def backward(self, index: int) -> None:
        """Let a layer go backward: from the diffs of its tops to those of its bottoms; its parameters' add up."""
        need = self._needs[index]
        if not need.visited:
            return
        entry = self._entries[index]
        if entry is None or entry.tops is None:
            entry = self._again(index, entry)
        assert entry.tops is not None
        blobs = self._parameters[index]
        parameters = [blob for blob in blobs if blob.tensor.requires_grad]
        places = [place for place, bottom in enumerate(entry.bottoms) if bottom.requires_grad]
        sources = [entry.bottoms[place] for place in places] + [blob.tensor for blob in parameters]
        tops = [(top, blob.gradient) for top, blob in zip(entry.tops, self._tops[index], strict=True)]
        tops = [(top, gradient) for top, gradient in tops if top.requires_grad]
        if not tops or not sources:
            return
        gradients = torch.autograd.grad(
            [top for top, _ in tops],
            sources,
            [gradient for _, gradient in tops],
            retain_graph=True,
            allow_unused=True,
        )
        sharing = self._net.layers[index].spec.type in _SHARING[1:]
        others = [gradient for _, gradient in tops]
        for place, gradient in zip(places, gradients, strict=False):
            bottom = self._bottoms[index][place]
            if gradient is None:
                gradient = torch.zeros_like(entry.bottoms[place])
            elif not sharing and _shares(gradient, others):
                gradient = gradient.clone()
            others.append(gradient)
            bottom.take_gradient(gradient)
        for blob, gradient in zip(parameters, gradients[len(places) :], strict=True):
            if gradient is not None:
                blob.add_gradient(gradient)

    def _again(self, index: int, entry: _Entry | None) -> _Entry:
        """What the layer made, computed once more, with what gradients need."""
        layer = self._net.layers[index]
        given = entry.bottoms if entry is not None else tuple(blob.tensor for blob in self._bottoms[index])
        with torch.enable_grad():
            bottoms = _cut_off(given, self._needs[index])
            tops = layer(*bottoms)
        self._entries[index] = again = _Entry(bottoms, (tops,) if isinstance(tops, Tensor) else tuple(tops))
        return again


def _cut_off(bottoms: Sequence[Tensor], need: Need) -> tuple[Tensor, ...]:
    """The bottoms without what made them; those that get a gradient ask for it."""
    return tuple(
        [
            bottom.detach().requires_grad_() if wanted and bottom.is_floating_point() else bottom
            for bottom, wanted in zip(bottoms, need.bottoms, strict=True)
        ]
    )


def _shares(tensor: Tensor, others: Sequence[Tensor]) -> bool:
    """Whether a tensor lies in the memory of one of the others."""
    address = tensor.untyped_storage().data_ptr()
    return any(other.untyped_storage().data_ptr() == address for other in others)
