"""Episodes of few-shot learning: a few classes drawn, a few examples of each, and queries to be told by them.

Source: Vinyals et al.: Matching Networks for One Shot Learning, 2016, section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np

from caffecompat.data.draws import Draws
from caffecompat.data.source import Floats
from caffecompat.graph.spec import LayerSpec

T = TypeVar("T")
# Caffe: a blob counts its values in an int.
MAX_ROWS = 2**31 - 1


@dataclass(frozen=True)
class Episodes:
    """What the batch of a layer of episodes is made of.

    Its rows: the support sets of all episodes, one after the other; then the queries of all episodes. The rows of an
    episode are those of its first class, of its second, and so on; within an episode classes have the labels 0 to
    ways - 1.

    Attributes:
        ways: classes of an episode.
        shots: examples of each class.
        queries: queries of each class.
        episodes: episodes of a batch.
    """

    ways: int
    shots: int
    queries: int
    episodes: int

    @staticmethod
    def of(spec: LayerSpec, param: Any) -> Episodes:
        """Those that a layer's parameters, of the same names, state.

        Raises:
            CaffeCompatError: one of them is not positive, or a batch would have too many rows.
        """
        values = {field.name: int(getattr(param, field.name)) for field in fields(Episodes)}
        for name, value in values.items():
            if value < 1:
                raise spec.error(f"expected {name} of at least 1, got {value}")
        made = Episodes(**values)
        if made.rows > MAX_ROWS:
            raise spec.error(f"a batch would have {made.rows} rows; at most {MAX_ROWS} are possible")
        return made

    @property
    def needed(self) -> int:
        """How many different items of a class an episode takes."""
        return self.shots + self.queries

    @property
    def rows(self) -> int:
        """How many rows a batch has."""
        return self.episodes * self.ways * self.needed

    def labels(self) -> Floats:
        """The label of each row, float32 (rows,)."""
        classes = np.arange(self.ways, dtype=np.float32)
        each = [np.tile(np.repeat(classes, count), self.episodes) for count in (self.shots, self.queries)]
        return np.concatenate(each)

    def batch(self, draw: Callable[[], Sequence[Sequence[T]]]) -> list[T]:
        """The items of a batch, row by row.

        Args:
            draw: draws the next episode: for each class `needed` items, of which the first are the support's.
        """
        drawn = [draw() for _ in range(self.episodes)]
        support = [item for episode in drawn for items in episode for item in items[: self.shots]]
        return support + [item for episode in drawn for items in episode for item in items[self.shots :]]


def distinct(draws: Draws, bound: int, count: int) -> list[int]:
    """`count` different numbers below `bound`, at random; as many draws are taken."""
    moved: dict[int, int] = {}
    drawn = []
    for place, number in enumerate(draws.many(count)):
        other = place + number % (bound - place)
        drawn.append(moved.get(other, other))
        moved[other] = moved.get(place, place)
    return drawn


def phase_share(spec: LayerSpec, count: int, held_out: int, seed: int, what: str) -> list[int]:
    """Which of `count` things (classes, words, sentences) belong to the layer's phase.

    Args:
        spec: the layer.
        count: how many there are.
        held_out: how many, drawn with `seed`, are kept for phase TEST, which sees no others; TRAIN sees the rest. 0:
            both see all.
        seed: decides which they are.
        what: their name, for errors.

    Raises:
        CaffeCompatError: no more than `held_out` are there.
    """
    if not held_out:
        return list(range(count))
    if held_out >= count:
        raise spec.error(
            f"{held_out} of {count} {what} are to be held out: none would be left to train on",
            hint=f"fewer held_out_{what}, a third of them for one",
        )
    order = Draws(seed).shuffled(count)
    return sorted(order[:held_out] if spec.phase == "TEST" else order[held_out:])
