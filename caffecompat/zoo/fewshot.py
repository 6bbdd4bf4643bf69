"""How well a matching network tells queries, episode by episode."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

from caffecompat.errors import UsageError
from caffecompat.layers.matching import MatchingLoss
from caffecompat.net import Net

# Of a normal distribution 95 % lie within so many standard deviations.
DEVIATIONS = 1.96


def matching_loss(net: Net) -> MatchingLoss:
    """The MatchingLoss of a net, whose bottoms the passes to come keep.

    Raises:
        UsageError: it has none, or several.
    """
    found = [layer for layer in net.layers if isinstance(layer, MatchingLoss)]
    if len(found) != 1:
        raise UsageError(
            f"expected a net with one MatchingLoss, got {len(found)}",
            hint="`caffecompat new matching-net` writes one",
        )
    net.keep = {key.name for key in found[0].spec.bottoms}
    return found[0]


def right_in_episodes(net: Net, layer: MatchingLoss) -> list[float]:
    """Pass the next batch of episodes; of each the share of queries that are told right.

    Args:
        net: it reads by itself, and is as `matching_loss` left it.
        layer: what `matching_loss` returned.
    """
    net()
    queries, support, labels, wanted = (net.blobs[key.name] for key in layer.spec.bottoms)
    right = layer.probabilities(queries, support, labels).argmax(1) == wanted.reshape(-1).long()
    shares: list[float] = right.reshape(layer.episodes, -1).double().mean(1).tolist()
    return shares


def summary(accuracies: Sequence[float]) -> tuple[float, float]:
    """The mean of the accuracies of two episodes or more, and half the width of its confidence interval of 95 %."""
    count = len(accuracies)
    mean = sum(accuracies) / count
    variance = sum((one - mean) ** 2 for one in accuracies) / (count - 1)
    return mean, DEVIATIONS * sqrt(variance / count)
