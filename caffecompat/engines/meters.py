"""What is counted of outputs of float32 and int8, side by side, batch by batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from caffecompat.engines.accuracy import LARGEST, SAME_PIXELS, SAME_TOP, TOP_1, TOP_5
from caffecompat.engines.typical import Truth

# Top-5 says something of so many classes.
MANY_CLASSES = 10


class Figures(NamedTuple):
    """What a meter found; see `Accuracy`."""

    float32: Mapping[str, float] = {}
    int8: Mapping[str, float] = {}
    agreement: Mapping[str, float] = {}
    notes: tuple[str, ...] = ()


class Meter(ABC):
    """Counts what one output of float32 and of int8 have in common, and how right each is."""

    @abstractmethod
    def add(self, wanted: Tensor, found: Tensor, truths: Sequence[Truth]) -> None:
        """Take a batch.

        Args:
            wanted: the output of the plain net.
            found: that of the engine.
            truths: what is known of each item; there may be further ones, which do not count.
        """

    @abstractmethod
    def figures(self) -> Figures:
        """What came of all batches."""


class Values(Meter):
    """Any output."""

    def __init__(self) -> None:
        self._apart = 0.0
        self._largest = 0.0

    def add(self, wanted: Tensor, found: Tensor, truths: Sequence[Truth]) -> None:
        """See `Meter.add`."""
        if found.shape != wanted.shape:
            self._apart = float("inf")
        elif wanted.numel():
            self._apart = max(self._apart, float((found - wanted).abs().max()))
            self._largest = max(self._largest, float(wanted.abs().max()))

    def figures(self) -> Figures:
        """See `Meter.figures`."""
        return Figures(agreement={LARGEST: self._apart / self._largest if self._largest else self._apart})


class Classes(Values):
    """Scores of classes, (N, C) or (N, C, 1, 1).

    Args:
        classes: how many there are.
        folders: of how many folders the order says the labels, or None.
    """

    def __init__(self, classes: int, folders: int | None) -> None:
        super().__init__()
        self._classes = classes
        self._folders = folders
        self._items = self._same = 0
        self._labels: list[Truth] = []
        # How many classes are no worse than the right one, by item.
        self._ranks: dict[str, list[int]] = {"float32": [], "int8": []}

    def add(self, wanted: Tensor, found: Tensor, truths: Sequence[Truth]) -> None:
        """See `Meter.add`."""
        right, value = (blob[: len(truths)].reshape(len(truths), -1) for blob in (wanted, found))
        super().add(right, value, truths)
        self._items += len(truths)
        self._same += int((right.argmax(1) == value.argmax(1)).sum())
        self._labels += truths
        for item, label in enumerate(truths):
            if isinstance(label, int) and 0 <= label < self._classes:
                for name, blob in (("float32", right), ("int8", value)):
                    self._ranks[name].append(int((~(blob[item] < blob[item, label])).sum()) - 1)

    def figures(self) -> Figures:
        """See `Meter.figures`."""
        agreement = {SAME_TOP: self._same / self._items, **super().figures().agreement}
        fault = self._fault()
        if fault:
            return Figures(agreement=agreement, notes=(fault,))
        tops = {TOP_1: 1, **({TOP_5: 5} if self._classes >= MANY_CLASSES else {})}
        float32, int8 = (
            {name: float(np.mean([rank < top for rank in ranks])) for name, top in tops.items()}
            for ranks in self._ranks.values()
        )
        return Figures(float32, int8, agreement)

    def _fault(self) -> str:
        """Why the labels tell nothing, or ""."""
        known = {label for label in self._labels if isinstance(label, int)}
        if len(self._ranks["int8"]) < self._items:
            others = sorted(label for label in known if not 0 <= label < self._classes)
            return f"the label {others[0]} is none of {self._classes} classes" if others else "no labels are known"
        if self._folders not in (None, self._classes):
            return f"no labels are known: {self._folders} folders are not those of {self._classes} classes"
        if len(known) == 1 and self._items > 1:
            return f"all have the label {known.pop()}, which is taken for none"
        return ""


class Pixels(Values):
    """Scores of classes at each place, (N, C, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self._places = self._same = 0

    def add(self, wanted: Tensor, found: Tensor, truths: Sequence[Truth]) -> None:
        """See `Meter.add`."""
        right, value = wanted[: len(truths)], found[: len(truths)]
        super().add(right, value, truths)
        best = right.argmax(1)
        self._places += best.numel()
        self._same += int((best == value.argmax(1)).sum())

    def figures(self) -> Figures:
        """See `Meter.figures`."""
        return Figures(agreement={SAME_PIXELS: self._same / self._places, **super().figures().agreement})
