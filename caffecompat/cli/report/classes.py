"""What the scores of a classifying net come to: counts of classes taken for each other, and the worst mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from caffecompat.cli.report.names import Names
from caffecompat.cli.report.pictures import Pictures, Thumbnail
from caffecompat.cli.report.ranking import Best
from caffecompat.cli.report.scores import Scored


@dataclass(frozen=True)
class Mistake:
    """A picture that was taken for another class.

    Attributes:
        picture: the picture, or None.
        key: what it is called.
        true: its class.
        answer: what it was taken for.
        score: of the answer, a probability.
        true_score: of its class.
    """

    picture: Thumbnail | None
    key: str
    true: int
    answer: int
    score: float
    true_score: float


class Classes:
    """Gathers scores and labels, pass by pass. Equal scores: the higher class is the answer, as in the SSD branch.

    Args:
        scored: the scores.
        pictures: those that were classified.
        names: what the classes are called.
        examples: how many mistakes are kept.

    Attributes:
        blobs: the blobs that `add` wants.
        counts: how often a class (first) was taken for one (second).
        items: how many items counted.
        mistakes: those of the highest scores over that of the true class.
    """

    def __init__(self, scored: Scored, pictures: Pictures, names: Names, examples: int) -> None:
        self.scored = scored
        self.pictures = pictures
        self.names = names
        self.blobs = scored.blobs
        self.counts: Counter[tuple[int | None, int | None]] = Counter()
        self.items = 0
        self.mistakes: Best[Mistake] = Best(examples)

    def add(self, blobs: Mapping[str, Tensor], items: int | None = None) -> None:
        """Take the blobs of a pass, of so many items if not of all."""
        scores, labels, counted = (blob[:items] for blob in self.scored.take(blobs))
        scores, labels, counted = scores.flatten(1), labels.flatten(), counted.flatten()
        answers = scores.shape[1] - 1 - scores.flip(1).argmax(1)
        logarithms = _logarithms(scores)
        for place in counted.nonzero().flatten().tolist():
            true, answer = int(labels[place]), int(answers[place])
            self.items += 1
            self.counts[true, answer] += 1
            if true != answer:
                row = logarithms[place]
                rank = float(row[answer] - row[true])
                self.mistakes.offer(rank, partial(self._mistake, place, true, answer, row))

    @property
    def right(self) -> int:
        """How many items were taken for what they are."""
        return sum(count for (true, answer), count in self.counts.items() if true == answer)

    def _mistake(self, place: int, true: int, answer: int, logarithms: Tensor) -> Mistake:
        picture = self.pictures[place]
        thumbnail = None if picture is None else Thumbnail(picture)
        score, true_score = logarithms[[answer, true]].exp().tolist()
        return Mistake(thumbnail, self.pictures.key(place), true, answer, score, true_score)


def _logarithms(scores: Tensor) -> Tensor:
    """The logarithms of probabilities (N, C): of scores that are none, those of their softmax."""
    if bool((scores >= 0).all()) and bool(((scores.sum(1) - 1).abs() < 1e-3).all()):
        return scores.clamp(min=torch.finfo(scores.dtype).tiny).log()
    return scores.log_softmax(1)
