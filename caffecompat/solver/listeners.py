"""Whoever wants to know how a run goes: logs, progress bars, plots, guards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from caffecompat.net import Net
    from caffecompat.solver.solver import Solver


@dataclass(frozen=True)
class Step:
    """One iteration.

    Attributes:
        iteration: its number; the first is 0.
        loss: the mean loss of its passes.
        smoothed_loss: the loss averaged over the last `average_loss` iterations.
        rate: the learning rate of its update.
        images: how many items its passes took, of all processes together.
    """

    iteration: int
    loss: float
    smoothed_loss: float
    rate: float
    images: int


@dataclass(frozen=True)
class Score:
    """One value of a test net's outputs, averaged over its passes; and its weight in the loss, or 0."""

    name: str
    value: float
    loss_weight: float = 0.0


@dataclass(frozen=True)
class Test:
    """What one test net gave.

    Attributes:
        iteration: the iterations done before it.
        net: the number of the test net.
        scores: in the order of Caffe's log.
        loss: the mean loss, if the solver asks for it (`test_compute_loss`).
    """

    __test__ = False  # not one of pytest's

    iteration: int
    net: int
    scores: tuple[Score, ...]
    loss: float | None = None


class Listener:
    """Told what happens in a run; each method does nothing unless a subclass has a use for it."""

    def line(self, text: str, place: str) -> None:
        """A line of Caffe's log, without its prefix; `place` is the file and line that Caffe's log names."""

    def started(self, solver: Solver) -> None:
        """`solve` begins; a snapshot to resume from is restored already."""

    def stepped(self, solver: Solver, step: Step) -> None:
        """An iteration is done."""

    def tested(self, solver: Solver, test: Test) -> None:
        """A test net was run."""

    def snapshotted(self, solver: Solver, state: Path) -> None:
        """A snapshot was written, whole."""

    def finished(self, solver: Solver) -> None:
        """`solve` ends, early or not, or by an error."""


def number(value: float) -> str:
    """A number as C++ streams write it: six digits."""
    return f"{value:.6g}"


def score_lines(kind: str, scores: Sequence[Score]) -> list[str]:
    """Caffe's lines for outputs: `Test net output #0: loss = 2.3 (* 1 = 2.3 loss)`; `kind` is "Train" or "Test"."""
    lines = []
    for index, score in enumerate(scores):
        weighted = ""
        if score.loss_weight:
            weighted = f" (* {number(score.loss_weight)} = {number(score.loss_weight * score.value)} loss)"
        lines.append(f"    {kind} net output #{index}: {score.name} = {number(score.value)}{weighted}")
    return lines


def scores_of(net: Net, outputs: Mapping[str, Tensor]) -> list[Score]:
    """Each value of the outputs of a pass, in Caffe's order, with its weight in the loss."""
    weights = net.loss_weights
    return [
        Score(name, float(value), weights.get(name, 0.0))
        for name in net.outputs
        for value in outputs[name].detach().reshape(-1).tolist()
    ]
