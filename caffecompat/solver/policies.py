"""Learning-rate policies: how the rate follows the iterations. (Caffe: SGDSolver::GetLearningRate.).

One is ours: `plateau_accuracy` follows an output of a test net, where Caffe's `plateau` follows the training loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from caffecompat.errors import SchemaError, did_you_mean, located, quoted
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.net import Net
from caffecompat.solver.listeners import Test

BY_ACCURACY = "plateau_accuracy"
POLICIES = ("fixed", "step", "exp", "inv", "multistep", "poly", "sigmoid", "plateau", BY_ACCURACY)
# The largest float, from which Caffe's plateau policy starts.
MAX_LOSS = 3.4028234663852886e38


class LearningRate:
    """The learning rate of a solver, iteration by iteration.

    Args:
        parsed: the solver.

    Attributes:
        current_step: how many steps the rate has come down; kept in snapshots.
        minimum_loss: the least smoothed loss so far (plateau); of plateau_accuracy the greatest value so far, with
            its sign turned, so that snapshots hold it.
        iter_last_event: the iteration of the last new minimum or step (plateau), or new greatest value or step.

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
        if policy == BY_ACCURACY:
            self._check_windows(parsed)

    @property
    def follows_tests(self) -> bool:
        """Whether the rate follows what test nets give."""
        return bool(self._param.lr_policy == BY_ACCURACY)

    def _check_windows(self, parsed: ParsedSolver) -> None:
        """Whether a test comes within each window of plateau_accuracy.

        Raises:
            SchemaError: there is no window, or one that is shorter than the time between tests; or there are no tests.
        """
        interval, windows = self._param.test_interval, list(self._param.plateau_winsize)
        if interval < 1 or not windows or min(windows) < interval:
            error = SchemaError(
                f'lr_policy "{BY_ACCURACY}" needs a test_interval above 0 and plateau_winsize not below it, got '
                f"{interval} and {windows or 'none'}",
                hint="plateau_winsize: N, once for each step, is how many iterations may pass without a better test",
            )
            raise located(error, parsed.position("lr_policy", 0))

    def check_tested(self, nets: Sequence[Net]) -> None:
        """Whether the output that plateau_accuracy follows is there.

        Args:
            nets: the test nets.

        Raises:
            SchemaError: none of them has it.
        """
        name = self._param.plateau_output
        if self.follows_tests and not any(name in net.outputs for net in nets):
            known = sorted({output for net in nets for output in net.outputs})
            hint = did_you_mean(name, known) or "plateau_output names the output to follow"
            error = SchemaError(
                f'lr_policy "{BY_ACCURACY}" follows the output {quoted(name)}, which no test net has; there are: '
                f"{', '.join(known) or 'none'}",
                hint=hint,
            )
            raise located(error, self._position)

    def tested(self, tests: Sequence[Test], say: Callable[[str], None]) -> None:
        """Follow what the test nets gave (plateau_accuracy): the first value of `plateau_output`.

        Args:
            tests: what each gave.
            say: told of new greatest values.
        """
        name = self._param.plateau_output
        scores = [(test.iteration, score.value) for test in tests for score in test.scores if score.name == name]
        if not self.follows_tests or not scores:
            return
        iteration, value = scores[0]
        # As a snapshot holds it: what is resumed compares the same numbers.
        least = -float(np.float32(value))
        if least < self.minimum_loss:
            self.minimum_loss = least
            self.iter_last_event = iteration
            say(f"Plateau Status: Iteration {iteration}, greatest {name} = {value:.6g}")

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
        elif policy == BY_ACCURACY:
            self._step_down(iteration, say)
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
        if policy in ("step", "multistep", "plateau", BY_ACCURACY):
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
        self._step_down(iteration, say)
        if param.display and iteration % param.display == 0 and self.iter_last_event > iteration - param.display:
            say(f"Plateau Status: Iteration {iteration}, current minimum_loss = {self.minimum_loss:.6g}")

    def _step_down(self, iteration: int, say: Callable[[str], None]) -> None:
        """Step down if the window has passed since the last event."""
        windows = self._param.plateau_winsize[self.current_step :]
        if windows and iteration >= self.iter_last_event + windows[0]:
            self.current_step += 1
            self.iter_last_event = iteration
            say(f"Plateau Status: Iteration {iteration}, step = {self.current_step}")
