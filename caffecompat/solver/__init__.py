"""Training as Caffe's solvers do it: the loop, update rules, learning-rate policies, snapshots, several processes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from caffecompat.solver.listeners import Listener, Score, Step, Test
from caffecompat.solver.options import Options

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver

__all__ = ["Listener", "Options", "Score", "Solver", "Step", "Test"]


def __getattr__(name: str) -> object:
    """Import what needs torch when it is first asked for: logs are read and drawn without it."""
    if name != "Solver":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("caffecompat.solver.solver"), name)
