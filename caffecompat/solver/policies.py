"""Learning-rate policies: how the rate follows the iterations. (Caffe: SGDSolver::GetLearningRate.)."""

from __future__ import annotations

import math
from collections.abc import Callable

from caffecompat.errors import SchemaError, did_you_mean, located, quoted
from caffecompat.formats.parsed import ParsedSolver

POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid", "plateau")
# The largest float, from which Caffe's plateau policy starts.
MAX_LOSS = 3.4028234663852886e38


class LearningRate:
    """The learning rate of a solver, iteration by iteration.

    Args:
        parsed: the solver.

    Attributes:
        current_step: how many steps the rate has come down; kept in snapshots.
        minimum_loss: the least smoothed loss so far (plateau).
        iter_last_event: the iteration of the last new minimum or step (plateau).

    Raises:
        SchemaError: the policy is not known, or lacks what it needs.
    """

    def __init__(self, parsed: ParsedSolver) -> None:
        self._param = parsed.message
        self._position = parsed.position("lr_policy", 0)
        self.current_step = 0
        self.minimum_loss = MAX_LOSS
        self.iter_last_event = 0
        policy = self._param.lr_policy
        if policy not in POLICIES:
            hint = did_you_mean(policy, POLICIES) or f"lr_policy is one of {', '.join(POLICIES)}"
            error = SchemaError(f"lr_policy {quoted(policy)} is not known", hint=hint)
            raise located(error, parsed.position("lr_policy", 0))
        for wanted, field in (("step", "stepsize"), ("poly", "max_iter")):
            value = getattr(self._param, field)
            if policy == wanted and value < 1:
                error = SchemaError(f'lr_policy "{policy}" needs {field} above 0, got {value}')
                raise located(error, parsed.position("lr_policy", 0))

    def rate(self, iteration: int, smoothed_loss: float, say: Callable[[str], None]) -> float:
        """The rate of the update that makes iteration `iteration + 1` of `iteration`.

        Args:
            iteration: how many updates were made.
            smoothed_loss: the loss that the solver shows (plateau follows it).
            say: told of steps in the words of Caffe's log.

        Raises:
            SchemaError: the policy gives no finite number.
        """
        param = self._param
        policy = param.lr_policy
        if policy == "step":
            self.current_step = iteration // param.stepsize
        elif policy == "multistep":
            if self.current_step < len(param.stepvalue) and iteration >= param.stepvalue[self.current_step]:
                self.current_step += 1
                say(f"MultiStep Status: Iteration {iteration}, step = {self.current_step}")
        elif policy == "plateau":
            self._plateau(iteration, smoothed_loss, say)
        try:
            rate = param.base_lr * self._factor(iteration)
        except (ArithmeticError, ValueError):
            rate = math.nan
        if not math.isfinite(rate):
            error = SchemaError(
                f'lr_policy "{policy}" gives no finite rate at iteration {iteration}',
                hint="check base_lr, gamma, power",
            )
            raise located(error, self._position)
        return rate

    def _factor(self, iteration: int) -> float:
        """What the base rate is multiplied by."""
        param = self._param
        policy = param.lr_policy
        if policy in ("step", "multistep", "plateau"):
            return math.pow(param.gamma, self.current_step)
        if policy == "exp":
            return math.pow(param.gamma, iteration)
        if policy == "inv":
            return math.pow(1 + param.gamma * iteration, -param.power)
        if policy == "poly":
            # Beyond max_iter Caffe's rate is a negative number's power, and no number.
            return math.pow(max(1 - iteration / param.max_iter, 0.0), param.power)
        if policy == "sigmoid":
            exponent = -param.gamma * (iteration - param.stepsize)
            return 0.0 if exponent >= 700 else 1 / (1 + math.exp(exponent))
        return 1.0

    def _plateau(self, iteration: int, smoothed_loss: float, say: Callable[[str], None]) -> None:
        """Step down when the loss has found no new minimum for `plateau_winsize` iterations."""
        param = self._param
        if smoothed_loss < self.minimum_loss:
            self.minimum_loss = smoothed_loss
            self.iter_last_event = iteration
        windows = param.plateau_winsize[self.current_step :]
        if windows and iteration >= self.iter_last_event + windows[0]:
            self.current_step += 1
            self.iter_last_event = iteration
            say(f"Plateau Status: Iteration {iteration}, step = {self.current_step}")
        if param.display and iteration % param.display == 0 and self.iter_last_event > iteration - param.display:
            say(f"Plateau Status: Iteration {iteration}, current minimum_loss = {self.minimum_loss:.6g}")
