"""The first of many, of which only these are kept."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class Best(Generic[T]):
    """Keeps what has the highest ranks; of equal ones the first to come.

    Args:
        most: how many are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, int, T]] = []
        self._count = count()
        self.offered = 0

    def offer(self, rank: float, make: Callable[[], T]) -> None:
        """Take what `make` gives, if its rank is high enough; a rank that is no number is the lowest."""
        self.offered += 1
        rank = -math.inf if math.isnan(rank) else rank
        if self._most == 0 or (len(self._heap) == self._most and rank <= self._heap[0][0]):
            return
        heapq.heappush(self._heap, (rank, -next(self._count), make()))
        if len(self._heap) > self._most:
            heapq.heappop(self._heap)

    def __iter__(self) -> Iterator[T]:
        """Those kept, by falling rank."""
        return (item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2], reverse=True))

    def __len__(self) -> int:
        return len(self._heap)
