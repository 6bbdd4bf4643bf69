"""What went wrong where a loss is not finite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError
from caffecompat.solver.listeners import number

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver


def not_finite(solver: Solver, loss: float) -> None:
    """Stop the run, or skip the update, as `options.on_nan` says.

    Raises:
        CaffeCompatError: the run stops; it says the iteration and what it found.
    """
    raise CaffeCompatError(f"the loss is {number(loss)} at iteration {solver.iteration}")
