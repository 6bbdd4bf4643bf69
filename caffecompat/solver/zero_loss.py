"""A MultiBoxLoss that stays 0: the net learns nothing, as it is given no boxes or none of them matches a prior."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, shown
from caffecompat.net import Net, Outputs
from caffecompat.solver.box_causes import USUAL, weights_causes, zero_causes
from caffecompat.solver.box_evidence import evidence
from caffecompat.solver.examine import batches_of
from caffecompat.solver.group import Group

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver

# So many iterations in a row without a box that counts are no accident.
MAX_ZERO = 20


class ZeroLossError(CaffeCompatError):
    """A MultiBoxLoss was 0 in many iterations in a row.

    Attributes:
        iteration: the last of them.
        keys: the records of the last batch.
        causes: what may be the cause, the surest first.
    """

    iteration: int = 0
    keys: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()


class ZeroLosses:
    """Counts in how many iterations in a row each MultiBoxLoss of a net was 0, in this process.

    Args:
        net: the net.
    """

    def __init__(self, net: Net) -> None:
        specs = [spec for spec in net.graph.layers for weight in spec.loss_weights if weight]
        # By the place among the losses of a pass: the layer.
        self._watched = {place: spec for place, spec in enumerate(specs) if spec.type == "MultiBoxLoss"}
        self._alone = len(specs) == 1
        self._other: set[int] = set()
        self._counts = dict.fromkeys(self._watched, 0)
        self._told: set[int] = set()

    def begin(self) -> None:
        """An iteration begins."""
        self._other.clear()

    def passed(self, outputs: Outputs, loss: float) -> None:
        """A pass is done.

        Args:
            outputs: of the pass.
            loss: its loss, of all losses together.
        """
        for place in self._watched.keys() - self._other:
            # Where it is the only one, its value need not be fetched.
            value = loss if self._alone else float(outputs.losses[place][1].detach())
            if value != 0:
                self._other.add(place)

    def ended(self, group: Group) -> str | None:
        """The passes of an iteration are done.

        Args:
            group: the processes that train together; a loss counts as 0 if it is in all of them. Where it is in some,
                the others learn, as one process does whose other passes of an iteration have boxes: a warning.

        Returns:
            The name of a layer whose loss was 0 in `MAX_ZERO` iterations in a row.
        """
        late = []
        for place, spec in self._watched.items():
            self._counts[place] = 0 if place in self._other else self._counts[place] + 1
            if group.greatest(self._counts[place]) < MAX_ZERO:
                continue
            if -group.greatest(-self._counts[place]) >= MAX_ZERO:
                late.append(spec.name)
            elif place not in self._told and group.rank == 0:
                self._told.add(place)
                warnings.warn(
                    f'"{shown(spec.tops[0].name)}" is 0 in some of the {group.world} processes for {MAX_ZERO} '
                    "iterations in a row: no box counts in the records that they read",
                    CaffeCompatWarning,
                    stacklevel=2,
                )
        return late[0] if late else None


def zero_loss(solver: Solver, name: str) -> ZeroLossError:
    """The error that ends a run.

    Args:
        solver: whose run it is.
        name: the layer's.
    """
    batches = batches_of(solver.net)
    seen = next(each for each in evidence(solver.net, batches) if each.loss.spec.name == name)
    spec = seen.loss.spec
    error = ZeroLossError(
        f'"{shown(spec.tops[0].name)}" is 0 for {MAX_ZERO} iterations in a row, the last of them {solver.iteration}: '
        "nothing is learnt"
    )
    spec.locate(error)
    error.iteration = solver.iteration
    error.keys = tuple(key for batch in batches.values() for key in batch.keys)
    error.causes = tuple(zero_causes(seen)) or tuple(weights_causes(solver)) or (USUAL,)
    return error
