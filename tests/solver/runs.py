"""The runs of the original in tests/reference/training, and solvers that follow them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from caffecompat.formats import read_solver
from caffecompat.solver import Listener, Options, Solver
from tests.support import REFERENCE

TRAINING = REFERENCE / "training"
RUNS = sorted(path.parent.name for path in TRAINING.glob("*/init.caffemodel"))


class Recorder(Listener):
    """Keeps the loss blob of each iteration, and what tests gave."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.tests: list[dict[str, float]] = []
        self.lines: list[tuple[str, str]] = []

    def line(self, text, place):
        self.lines.append((text, place))

    def stepped(self, solver, step):
        self.losses.append(float(solver.outputs["loss"].detach()))

    def tested(self, solver, test):
        self.tests.append({score.name: score.value for score in test.scores})


def recorded(run: str) -> dict[str, np.ndarray]:
    """What the original gave: see the folder's README."""
    with np.load(TRAINING / run / "trace.npz") as trace:
        return dict(trace)


def solver_of(
    run: str, prefix: Path | str, *, fields: dict[str, Any] | None = None, start: bool = True, **options: Any
) -> tuple[Solver, Recorder]:
    """The solver of a run, and what keeps its losses.

    Args:
        run: the name of its folder.
        prefix: its `snapshot_prefix`.
        fields: other fields of the solver to set.
        start: from the run's first weights; else from fillers.
        options: as those of `Options`; the root is the folder of all runs.
    """
    parsed = read_solver(TRAINING / run / "solver.prototxt")
    parsed.message.snapshot_prefix = str(prefix)
    for name, value in (fields or {}).items():
        setattr(parsed.message, name, value)
    recorder = Recorder()
    weights = [TRAINING / run / "init.caffemodel"] if start else []
    settings = Options(**{"root": TRAINING, **options})
    return Solver(parsed, weights=weights, options=settings, listeners=[recorder]), recorder


def parameters(solver: Solver) -> dict[str, np.ndarray]:
    """The parameters by `layer/index`."""
    return {
        f"{layer.spec.name}/{index}": blob.detach().cpu().numpy().copy()
        for layer in solver.net.layers
        for index, blob in enumerate(layer.blobs)
    }
