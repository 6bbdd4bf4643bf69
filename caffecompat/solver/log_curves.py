"""The curves of a log as they are shown: arrays with gaps, the training loss smoothed, names of test outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from caffecompat.errors import shown
from caffecompat.solver.log_reader import Curve, RunLog

# A loss beyond this has diverged: drawn, it would leave everything else a flat line.
DIVERGED = 1e30

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TrainLoss:
    """A curve of the training loss.

    Attributes:
        name: what it is.
        x: the iterations.
        y: its values; nan is a gap.
        faint: it is the background of a smoother one.
    """

    name: str
    x: Floats
    y: Floats
    faint: bool = False


def train_losses(log: RunLog) -> list[TrainLoss]:
    """The loss as it is, faint, and averaged: by the solver, or here where the solver does not (`average_loss: 1`)."""
    if not log.smoothed:
        return []
    smoothed, single = arrays(log.smoothed), arrays(log.loss)
    if log.loss and not _same(single, smoothed):
        return [TrainLoss("loss", *single, faint=True), TrainLoss("loss, averaged by the solver", *smoothed)]
    window = len(smoothed[0]) // 20
    if window < 2:
        return [TrainLoss("loss", *smoothed)]
    mean = TrainLoss(f"loss, mean of {window} values", smoothed[0], _running_mean(smoothed[1], window))
    return [TrainLoss("loss", *smoothed, faint=True), mean]


def arrays(curve: Curve) -> tuple[Floats, Floats]:
    """A curve as arrays, iterations and values; what is no finite number, or has diverged, is a gap (nan)."""
    found = np.array(curve.values, np.float64)
    return np.array(curve.iterations, np.float64), np.where(np.abs(found) < DIVERGED, found, np.nan)


def output_name(net: int, name: str) -> str:
    """What an output of test net number `net` is called."""
    return f"test {shown(name)}" if net == 0 else f"test #{net} {shown(name)}"


def _same(one: tuple[Floats, Floats], other: tuple[Floats, Floats]) -> bool:
    """Whether two curves are the same at the iterations they share, in the digits that a log has."""
    _, first, second = np.intersect1d(one[0], other[0], return_indices=True)
    return bool(np.allclose(one[1][first], other[1][second], rtol=1e-4, equal_nan=True))


def _running_mean(values: Floats, window: int) -> Floats:
    """The mean of the last `window` values, of those that are finite."""
    finite = np.isfinite(values)
    sums = np.concatenate(([0.0], np.cumsum(np.where(finite, values, 0.0))))
    counts = np.concatenate(([0], np.cumsum(finite)))
    end = np.arange(1, len(values) + 1)
    start = np.maximum(end - window, 0)
    found = counts[end] - counts[start]
    means = (sums[end] - sums[start]) / np.maximum(found, 1)
    return np.where(found > 0, means, np.nan)
