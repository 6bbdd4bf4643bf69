"""Timer, as pycaffe has it."""

from __future__ import annotations

import time

import torch


class Timer:
    """Measures the time between `start` and `stop`; on a GPU, until its work is done."""

    def __init__(self) -> None:
        self._start = self._stop = 0.0

    def start(self) -> None:
        """Begin."""
        self._start = _now()

    def stop(self) -> None:
        """End."""
        self._stop = _now()

    @property
    def ms(self) -> float:
        """The time between, in milliseconds."""
        return (self._stop - self._start) * 1e3


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()
