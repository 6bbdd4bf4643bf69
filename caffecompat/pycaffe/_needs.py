"""Which layers and bottoms a pass backward visits. Source of the rules: Net::Init of the original."""

from __future__ import annotations

from typing import NamedTuple

from caffecompat.graph.spec import BlobKey, Graph, LayerSpec

# Bottoms that force_backward gives no gradient, where it is not the second of a loss layer.
_NEVER = {"RNN": 1, "LSTM": 1, "LSTMUnit": 2, "ContrastiveLoss": 2, "EuclideanLoss": None, "SmoothL1Loss": None}


class Need(NamedTuple):
    """What a pass backward does at one layer.

    Attributes:
        visited: whether it calls the layer at all.
        bottoms: for each bottom, whether it gets a gradient.
    """

    visited: bool
    bottoms: tuple[bool, ...]


def needs(graph: Graph, parameters: list[int]) -> list[Need]:
    """What a pass backward does at each layer.

    A layer is visited if something before it, or a parameter of its own, is learned, and something after it is a
    loss; with `force_backward` every layer is, and every blob gets a gradient.

    Args:
        graph: the net, with its Split layers.
        parameters: how many blobs each layer has.
    """
    learned: set[BlobKey] = set()
    found: list[Need] = []
    for spec, blobs in zip(graph.layers, parameters, strict=True):
        stated = spec.message.propagate_down
        bottoms = tuple(bool(stated[index]) if stated else key in learned for index, key in enumerate(spec.bottoms))
        visited = any(key in learned for key in spec.bottoms)
        visited |= any(spec.param(index).lr_mult != 0 for index in range(blobs))
        if visited:
            learned.update(spec.tops)
        found.append(Need(visited, bottoms))
    _without_loss(graph, found)
    if graph.force_backward:
        return [Need(not spec.row.data, _forced(spec, need)) for spec, need in zip(graph.layers, found, strict=True)]
    return found


def _without_loss(graph: Graph, found: list[Need]) -> None:
    """Take out what no loss depends on, and what only blobs that get no gradient depend on."""
    under_loss: set[str] = set()
    skipped: set[str] = set()
    for spec in reversed(graph.layers):
        visited, bottoms = found[spec.index]
        contributes = any(spec.loss_weights) or any(key.name in under_loss for key in spec.tops)
        if visited and all(key.name in skipped for key in spec.tops):
            visited, bottoms = False, (False,) * len(bottoms)
        if contributes:
            under_loss.update(key.name for key in spec.bottoms)
        else:
            visited, bottoms = False, (False,) * len(bottoms)
        skipped.update(key.name for key, wanted in zip(spec.bottoms, bottoms, strict=True) if not wanted)
        found[spec.index] = Need(visited, bottoms)


def _forced(spec: LayerSpec, need: Need) -> tuple[bool, ...]:
    never = _NEVER.get(spec.type, 1 if spec.row.loss else None)
    return tuple(wanted or index != never for index, wanted in enumerate(need.bottoms))
