"""Boxes as the records of a database hold them, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from caffecompat.data.annotations import BOX, DIFFICULT, INSTANCE, LABEL, ROW, WHOLE, project
from caffecompat.data.source import Floats
from caffecompat.errors import quoted
from caffecompat.solver.listeners import number

Mask = npt.NDArray[np.bool_]
# Corners may lie so far outside of 0..1, as rounding has it.
SLACK = 0.01
# A box beyond this is in pixels, not in fractions.
PIXELS = 2.0
# Boxes of which none has a side above this part of the picture are doubtful: fractions that were divided once more.
TINY = 0.01


@dataclass
class StoredBoxes:
    """The boxes of some records.

    Attributes:
        keys: the records that were looked at.
        rows: float32 (N, 7) for each box label, instance, xmin, ymin, xmax, ymax, difficult.
        owners: (N,) for each box its record, as its place among the keys.
    """

    keys: list[str] = field(default_factory=list)
    rows: Floats = field(default_factory=lambda: np.empty((0, ROW), np.float32))
    owners: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @classmethod
    def of(cls, records: Iterable[tuple[str, Floats]]) -> StoredBoxes:
        """Those of records, each with its key and its boxes (N, 7)."""
        keys, rows = [], [np.empty((0, ROW), np.float32)]
        for key, boxes in records:
            keys.append(key)
            rows.append(boxes)
        owners = np.repeat(np.arange(len(keys)), [len(boxes) for boxes in rows[1:]])
        return cls(keys, np.concatenate(rows), owners)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def boxes(self) -> Floats:
        """(N, 4)."""
        found: Floats = self.rows[:, BOX]
        return found

    @property
    def labels(self) -> Floats:
        """(N,)."""
        found: Floats = self.rows[:, LABEL]
        return found

    @property
    def difficult(self) -> Mask:
        """(N,)."""
        return np.asarray(self.rows[:, DIFFICULT] != 0)

    @property
    def without(self) -> int:
        """How many records have no box."""
        return len(self.keys) - len(np.unique(self.owners))

    @cached_property
    def lost(self) -> Mask:
        """(N,) those of which nothing is left inside the picture, or that have no area."""
        numbered = self.rows.copy()
        numbered[:, INSTANCE] = np.arange(len(numbered))
        gone = np.ones(len(numbered), bool)
        gone[project(numbered, WHOLE)[:, INSTANCE].astype(np.int64)] = False
        return gone

    @property
    def outside(self) -> Mask:
        """(N,) those that reach outside the picture."""
        return np.asarray(((self.boxes < -SLACK) | (self.boxes > 1 + SLACK)).any(1))

    @property
    def in_pixels(self) -> Mask:
        """(N,) those that look like pixels."""
        return np.asarray((self.boxes > PIXELS).any(1))

    @property
    def flat(self) -> Mask:
        """(N,) those without an area: a maximum is not above its minimum."""
        return np.asarray((self.boxes[:, 2:] <= self.boxes[:, :2]).any(1))

    def key(self, where: Mask) -> str:
        """The record of the first box of which a mask (N,) is true."""
        owner: int = self.owners[int(np.argmax(where))]
        return self.keys[owner]

    def example(self, where: Mask) -> str:
        """The first box of which a mask (N,) is true, as a sentence tells of it."""
        return f"{shown_box(self.boxes[int(np.argmax(where))])} in record {quoted(self.key(where))}"


def shown_box(box: Floats) -> str:
    """A box (4,) as a sentence shows it."""
    return f"({', '.join(number(float(corner)) for corner in box)})"


def largest_side(boxes: Floats) -> float:
    """The longest side of boxes (N, 4); 0 if there are none."""
    return float((boxes[:, 2:] - boxes[:, :2]).max(initial=0.0))
