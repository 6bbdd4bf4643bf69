"""Matching networks: queries told from the examples of a support set, by attention over it.

Source: Vinyals et al.: Matching Networks for One Shot Learning, 2016, section 2.1: P(y | query, S) is the sum of
a(query, x_i) over the members x_i of class y, with a(query, x_i) = softmax over i of cosine(f(query), g(x_i)).

Cosines of embeddings that a ReLU made lie within 0 to 1, where the softmax over five members gives none more than
e / (e + 4) = 0.40: there is little to be learnt from such an attention. `scale` multiplies the cosines before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from caffecompat.errors import CaffeCompatError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape
from caffecompat.layers.labels import class_labels, precise
from caffecompat.layers.plugins import layer


def cosines(queries: Tensor, support: Tensor) -> Tensor:
    """The cosine of each query with each member of its support set; 0 where one of the two is 0.

    Args:
        queries: (episodes, queries, D).
        support: (episodes, members, D).

    Returns:
        (episodes, queries, members).
    """
    return _unit(queries) @ _unit(support).transpose(1, 2)


def _unit(rows: Tensor) -> Tensor:
    square = rows.square().sum(-1, keepdim=True)
    some = square > 0
    # Where it is 0 the root is taken of 1, for its gradient would be no number.
    return rows * torch.where(some, square, 1.0).rsqrt() * some


def per_episode(own: Layer, rows: int, episodes: int, what: str) -> int:
    """How many rows of a bottom belong to each episode.

    Raises:
        ShapeError: they are no multiple of the episodes.
    """
    if rows < episodes or rows % episodes:
        raise own.error(f"expected {what} of {episodes} episodes, as many of each, got {rows}")
    return rows // episodes


@dataclass
class MatchingParameter:
    """How the rows of the bottoms belong together.

    Attributes:
        ways: the number of classes of an episode; labels are 0 to ways - 1.
        episodes: of how many episodes the bottoms hold the rows, one after the other.
        scale: what the cosines are multiplied by; the paper has 1.
    """

    ways: int = 5
    episodes: int = 1
    scale: float = 1.0


class _Matching(Layer):
    """What both layers share."""

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param: Any = self.message
        self.ways: int = param.ways
        self.episodes: int = param.episodes
        self.scale: float = param.scale
        if self.ways < 1 or self.episodes < 1:
            raise self.error(f"ways and episodes must be positive, got {self.ways} and {self.episodes}")
        if not 0 < self.scale < inf:
            raise self.error(f"expected a positive scale, got {self.scale:g}")

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        queries, support, labels = bottoms[:3]
        if not queries or len(support) != len(queries) or queries[1:] != support[1:]:
            raise self.error(f"queries and support must be rows of the same shape, got {queries} and {support}")
        per_episode(self, queries[0], self.episodes, "queries")
        per_episode(self, support[0], self.episodes, "members of support sets")
        _check_labels(self, labels, support[0], "members")
        return ((queries[0], self.ways),)

    def probabilities(self, queries: Tensor, support: Tensor, labels: Tensor) -> Tensor:
        """How likely each class is for each query, (queries, ways); bottoms as those of `Matching`."""
        attention = self.scores(queries, support).softmax(-1)
        members = functional.one_hot(self._classes(labels), self.ways).to(attention.dtype)
        return (attention @ members).flatten(0, 1)

    def scores(self, queries: Tensor, support: Tensor) -> Tensor:
        """What the attention is the softmax of: (episodes, queries of one, members of one)."""
        rows = [precise(blob).reshape(self.episodes, blob.shape[0] // self.episodes, -1) for blob in (queries, support)]
        # A product of rounded cosines would be worth little.
        with torch.autocast(queries.device.type, enabled=False):
            return self.scale * cosines(rows[0], rows[1])

    def _classes(self, labels: Tensor) -> Tensor:
        return class_labels(self, labels, self.ways).index.reshape(self.episodes, -1)


@layer("Matching", param="matching_param", message=MatchingParameter, bottoms=3)
class Matching(_Matching):
    """The probabilities of the classes for queries, by attention over the support set.

    bottoms: queries (episodes * Q, ...); support (episodes * S, ...), of the same shape but for the first size; labels
    of the support (episodes * S,). top: (episodes * Q, ways).
    """

    def forward(self, queries: Tensor, support: Tensor, labels: Tensor) -> Tensor:
        return self.probabilities(queries, support, labels)


@layer("MatchingLoss", param="matching_param", bottoms=4, tops=(1, 2), loss=True)
class MatchingLoss(_Matching):
    """The mean of -log P(right class) over the queries.

    bottoms: those of `Matching`; labels of the queries (episodes * Q,). tops: the loss; if wanted the probabilities
    (episodes * Q, ways).

    A query whose class its support set lacks is an error on the CPU; elsewhere and in a compiled net, where looking
    would cost a synchronisation, the loss becomes nan.
    """

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        (probabilities,) = super().shapes(*bottoms)
        _check_labels(self, bottoms[3], bottoms[0][0], "queries")
        return ((), probabilities)[: len(self.spec.tops)]

    def forward(
        self, queries: Tensor, support: Tensor, labels: Tensor, wanted: Tensor
    ) -> Tensor | tuple[Tensor, Tensor]:
        scores, classes = self.scores(queries, support), self._classes(labels)
        asked = self._classes(wanted)
        same = asked.unsqueeze(-1) == classes.unsqueeze(1)
        there = same.any(-1)
        if scores.device.type == "cpu" and not torch.compiler.is_compiling():
            self._check_there(there, asked, classes)
        # Without a member of the class the sum is taken over all, so that its gradient is a number.
        kept = scores.masked_fill(~same & there.unsqueeze(-1), -torch.inf)
        losses = scores.logsumexp(-1) - kept.logsumexp(-1)
        loss = losses.masked_fill(~there, torch.nan).mean()
        return loss if len(self.spec.tops) == 1 else (loss, self.probabilities(queries, support, labels))

    def _check_there(self, there: Tensor, asked: Tensor, classes: Tensor) -> None:
        if bool(there.all()):
            return
        episode, query = (~there).nonzero()[0].tolist()
        has = ", ".join(map(str, sorted(set(classes[episode].tolist()))))
        raise self.error(
            f"query {query} of episode {episode} is of class {asked[episode, query]}, which its support set lacks: it "
            f"has {has}",
            hint="each class that is asked for needs an example",
            kind=CaffeCompatError,
        )


def _check_labels(own: Layer, labels: Shape, rows: int, what: str) -> None:
    """Refuse labels that are not one for each row.

    Raises:
        ShapeError: they are not.
    """
    if not labels or labels[0] != rows or any(size != 1 for size in labels[1:]):
        raise own.error(f"expected labels of shape ({rows},), one for each of {rows} {what}, got {labels}")
