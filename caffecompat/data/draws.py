"""The random numbers of data layers: Caffe's generator, so that a seed gives Caffe's own crops, mirrors and orders."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt

MAX = 2**32 - 1
# So many numbers are drawn at once for a permutation.
_BLOCK = 1 << 14


class Draws:
    """A stream of 32-bit numbers: boost::mt19937, the common Mersenne Twister, as Caffe seeds it and draws from it.

    Args:
        seed: as `random_seed` of a solver; None takes one from the operating system.
    """

    def __init__(self, seed: int | None = None) -> None:
        chosen = int.from_bytes(os.urandom(4), "little") if seed is None else seed & MAX
        # Its numbers as they come: RandomState makes bytes of them, which takes forty times as long.
        self._numbers = np.random.MT19937()
        self._generator = np.random.RandomState(self._numbers)
        self._generator.seed(chosen)

    def __call__(self) -> int:
        """The next number, 0 to 2**32 - 1."""
        return self._numbers.random_raw()

    def many(self, count: int) -> list[int]:
        """The next `count` numbers."""
        drawn: list[int] = self._numbers.random_raw(count).tolist()
        return drawn

    def below(self, bound: int) -> int:
        """A number from 0 to bound - 1, each as likely, as boost::uniform_int draws it (for `shuffled`)."""
        return int(self._each_below(np.array([bound]))[0])

    def shuffled(self, count: int) -> list[int]:
        """A permutation of 0 to count - 1, as caffe::shuffle makes it."""
        order = list(range(count))
        for start in range(count, 1, -_BLOCK):
            bounds = np.arange(start, max(start - _BLOCK, 1), -1)
            for last, other in zip((bounds - 1).tolist(), self._each_below(bounds).tolist(), strict=True):
                order[last], order[other] = order[other], order[last]
        return order

    def _each_below(self, bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """A number below each bound: the draw over the size of a bucket, drawn again where that is not below it."""
        buckets = MAX // bounds + (MAX % bounds == bounds - 1)
        drawn = np.array(self.many(len(bounds)), np.int64)
        while True:
            below: npt.NDArray[np.int64] = drawn // buckets
            refused = np.flatnonzero(below >= bounds)
            if not len(refused):
                return below
            # What follows the first refused number serves in its place; a new one comes at the end.
            drawn = np.append(np.delete(drawn, refused[0]), self())

    def state(self) -> dict[str, Any]:
        """Where the stream is, as JSON holds it."""
        _, key, position, *_ = self._generator.get_state(legacy=True)
        return {"key": np.asarray(key).tolist(), "position": int(position)}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where `state` was taken.

        Raises:
            ValueError: it is no such state.
        """
        self._generator.set_state(("MT19937", np.array(state["key"], np.uint32), int(state["position"]), 0, 0.0))
