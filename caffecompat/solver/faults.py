"""What is done about values that are not finite: the run stops and says where they came from, or skips the update."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError, shown
from caffecompat.layers.data import DataLayer
from caffecompat.net import Net, Outputs
from caffecompat.solver.box_causes import label_causes
from caffecompat.solver.box_evidence import evidence
from caffecompat.solver.causes import causes, label_sentence, named, some
from caffecompat.solver.devices import autocast
from caffecompat.solver.examine import (
    Batches,
    Examination,
    Values,
    batches_of,
    examine,
    is_finite,
    label_faults,
    statistics,
)
from caffecompat.solver.listeners import Step, number
from caffecompat.solver.zero_loss import ZeroLosses, zero_loss

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver

# So many updates skipped one after the other are no accident.
MAX_SKIPPED = 20
# How many iterations before are told of.
REMEMBERED = 5
MAX_KEYS = 4
MAX_CAUSES = 3


class NotFiniteError(CaffeCompatError):
    """A loss, or a gradient, is not finite.

    Attributes:
        iteration: the iteration.
        keys: the records of the batch.
        causes: what may be the cause, the surest first.
    """

    iteration: int = 0
    keys: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FailedPass:
    """A pass whose loss is not finite: which of an iteration's it is, and what the data layers had read for it."""

    index: int
    batches: Batches


class Guard:
    """Keeps values that are not finite out of a solver's parameters.

    Attributes:
        skipped: how many updates were skipped so far.
        in_a_row: how many the last iterations skipped without an update between.
        failed: the pass of this iteration whose loss is not finite, if it is this process's.
        steps: the last iterations that made an update.
    """

    def __init__(self, solver: Solver) -> None:
        self._solver = solver
        self._kept: list[tuple[Tensor, Tensor]] = []
        self.skipped = 0
        self.in_a_row = 0
        self.failed: FailedPass | None = None
        self.steps: deque[Step] = deque(maxlen=REMEMBERED)

    @cached_property
    def _zeros(self) -> ZeroLosses:
        return ZeroLosses(self._solver.net)

    @property
    def _skips(self) -> bool:
        return self._solver.options.on_nan == "skip"

    def begin(self) -> None:
        """An iteration begins: if it may be skipped, remember what its passes change beside the gradients."""
        self.failed = None
        self._zeros.begin()
        if self._skips:
            self._kept = [(tensor, tensor.clone()) for tensor in statistics(self._solver.net)]

    def passed(self, index: int, loss: float) -> bool:
        """A pass is done; its outputs are the solver's.

        Args:
            index: which of the iteration's it is.
            loss: its loss.

        Returns:
            Whether the other passes of the iteration are to be left out. Where several processes train they are not:
            the others would wait for this one in the last pass.
        """
        assert isinstance(self._solver.outputs, Outputs)
        self._zeros.passed(self._solver.outputs, loss)
        if math.isfinite(loss) or self.failed is not None:
            return False
        self.failed = FailedPass(index, batches_of(self._solver.net))
        return self._solver.group.world == 1

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Around a pass: an error of a layer says which records it was computing."""
        try:
            yield
        except CaffeCompatError as error:
            net = self._solver.net
            if error.layer not in {layer.spec.name for layer in net.layers if isinstance(layer, DataLayer)}:
                _add_records(error, batches_of(net), _label_causes(net, error.layer))
            raise

    def refuses(self, loss: float) -> bool:
        """The passes are done: whether the update is to be skipped. All processes come to the same answer.

        Args:
            loss: the mean loss of the passes, over all processes.

        Raises:
            NotFiniteError: the loss is not finite, or so many losses in a row; the run is to stop.
            ZeroLossError: a MultiBoxLoss was 0 in so many iterations in a row.
        """
        if self._solver.options.on_zero_loss == "stop":
            self._stop_at_zero()
        if not math.isfinite(loss):
            not_finite(self._solver, loss)
        elif not self._skips or self._gradients_are_finite():
            self.in_a_row = 0
            return False
        for tensor, kept in self._kept:
            tensor.copy_(kept)
        return True

    def done(self, step: Step) -> None:
        """An update was made."""
        self.steps.append(step)

    def _stop_at_zero(self) -> None:
        """Stop if a MultiBoxLoss stays 0."""
        name = self._zeros.ended(self._solver.group)
        if name is None:
            return
        error = zero_loss(self._solver, name)
        _add_records(error, batches_of(self._solver.net), error.causes[:MAX_CAUSES])
        error.hint = f"{error.hint}\n  if that is meant: --on-zero-loss continue"
        raise error

    def _gradients_are_finite(self) -> bool:
        """Whether all gradients are; if not, the run stops or the update is skipped."""
        solver = self._solver
        gradients = [tensor.grad for tensor in solver.update.order if tensor.grad is not None]
        norm = float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0
        if math.isfinite(solver.group.mean(norm)):
            solver.update.gradient_norm = norm
            return True
        if solver.group.mean(float(all(map(is_finite, gradients)))) == 1:
            # Only their squares are too large for a float.
            return True
        names = [
            named(item)
            for item in reversed(solver.net.learnable)
            if item.tensor.grad is not None and not is_finite(item.tensor.grad)
        ]
        error = NotFiniteError(
            f"the gradients are not finite at iteration {solver.iteration}, where the loss is: those of {some(names)}"
        )
        _stop_or_skip(solver, error, batches_of(solver.net), [])
        return False


def not_finite(solver: Solver, loss: float) -> None:
    """Stop the run, or count a skipped update, as `options.on_nan` says.

    Args:
        solver: whose loss it is.
        loss: the mean loss of the iteration's passes, over all processes.

    Raises:
        NotFiniteError: the run stops. It says the iteration, the first blob that went wrong, the records of the
            batch, and what may be the cause.
    """
    failed = solver.guard.failed
    what = f"the loss is {number(loss)} at iteration {solver.iteration}"
    elsewhere = solver.group.greatest(int(failed is not None))
    if failed is None:
        # The sum of finite losses, or that of another process, which knows more of it.
        where = "that of another process" if elsewhere else "their sum"
        error = NotFiniteError(f"{what}; the losses of its passes are finite, {where} is not")
        batches = {} if elsewhere else batches_of(solver.net)
        _stop_or_skip(solver, error, batches, [], known_elsewhere=bool(elsewhere))
        return
    passes = solver.param.iter_size
    if passes > 1:
        what += f", in pass {failed.index + 1} of {passes}"
    with autocast(solver.device, solver.options.precision):
        seen = examine(solver.net, failed.batches, solver.device)
    error = NotFiniteError(f"{what}: {_first(seen)}")
    if seen.layer is not None:
        seen.layer.spec.locate(error)
    _stop_or_skip(solver, error, failed.batches, causes(solver, seen))


def _first(seen: Examination) -> str:
    """Where values that are not finite came up first."""
    if seen.refused is not None:
        layer = shown(seen.refused.layer or "")
        return f'in a second pass over the batch layer "{layer}" failed: {seen.refused.message}'
    if seen.layer is None or seen.top is None or seen.values is None:
        return (
            "in a second pass over the batch all blobs are finite, so it was a matter of chance "
            "(Dropout, fillers of DummyData)"
        )
    counts = f"{seen.values.bad} of {seen.values.count} values"
    first = f'"{shown(seen.top.name)}" is the first blob that is not finite, {counts}'
    own = [item.layer.blob_names[item.index] for item in seen.parameters if item.layer is seen.layer]
    if own:
        return f"{first}, as the layer's {' and '.join(own)} {'is' if len(own) == 1 else 'are'} not"
    return first + "".join(f', from "{shown(name)}" of {_span(values)}' for name, values in seen.bottoms.items())


def _span(values: Values) -> str:
    return f"{number(values.least)} to {number(values.greatest)}"


def _label_causes(net: Net, layer: str | None) -> list[str]:
    """What the labels of the batch have to do with the error of a layer."""
    batches = batches_of(net)
    boxes = [each for each in evidence(net, batches) if each.loss.spec.name == layer]
    found = [label_sentence(fault) for fault in label_faults(net, batches)]
    return found + [cause for each in boxes for cause in label_causes(each)]


def _stop_or_skip(
    solver: Solver, error: NotFiniteError, batches: Batches, found: Sequence[str], *, known_elsewhere: bool = False
) -> None:
    """Raise the error, or tell of it and count; where another process knows what it is, that one's error is raised."""
    guard = solver.guard
    error.iteration, error.causes = solver.iteration, tuple(found)
    error.keys = tuple(key for batch in batches.values() for key in batch.keys)
    if solver.options.on_nan == "skip":
        guard.skipped += 1
        guard.in_a_row += 1
        if guard.in_a_row < MAX_SKIPPED:
            keys = f"; records {some(error.keys, MAX_KEYS)}" if error.keys else ""
            place = f' (layer "{shown(error.layer)}")' if error.layer is not None else ""
            solver.say(f"Update skipped ({guard.skipped} so far): {error.message}{place}{keys}", "faults.py:1")
            return
        error.message = f"the last of {guard.in_a_row} updates in a row that were skipped: {error.message}"
    if known_elsewhere:
        # It takes no part in this, and its end is the end of the wait.
        solver.group.mean(0.0)
    _add_records(error, batches, found[:MAX_CAUSES])
    raise error


def _add_records(error: CaffeCompatError, batches: Batches, found: Sequence[str]) -> None:
    """Add the records of the batch and what may be the cause to an error's hint."""
    keys = [key for batch in batches.values() for key in batch.keys]
    records = [f"records of the batch: {some(keys, MAX_KEYS)}"] if keys else []
    error.hint = "\n  ".join([*([error.hint] if error.hint else []), *found, *records]) or None
