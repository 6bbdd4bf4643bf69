"""What a person sees of a run while it goes on: a bar on stderr, tests and snapshots as lines above it."""

from __future__ import annotations

import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from caffecompat.cli.progress import Progress, clock
from caffecompat.errors import presentable, shown
from caffecompat.solver.listeners import Listener, Score, Step, Test, number
from caffecompat.solver.log import glog_line

if TYPE_CHECKING:
    from caffecompat.solver.solver import Solver

MAX_SCORES = 6
# How much of the measured speed is kept from one iteration to the next: some hundred iterations count.
KEPT = 0.99


class TrainingProgress(Listener):
    """Shows how a run goes: the loss, the rate, items per second and the time left.

    Args:
        verbose: show the lines of the log too.

    Attributes:
        step: the last iteration, or None.
        tests: what each test net gave last, by its number.
        snapshot: the last snapshot that was written, or None.
        started_once: whether the run got as far as its first iteration.
    """

    def __init__(self, *, verbose: bool = False) -> None:
        self.step: Step | None = None
        self.tests: dict[int, Test] = {}
        self.snapshot: Path | None = None
        self.started_once = False
        self._verbose = verbose
        self._bar = _Bar(self.text)
        self._begin = self._last = time.monotonic()
        self._stages = (0, 0, 0)
        self._iterations = self._active = self._images = 0.0
        self._testing: dict[int, float] = {}

    @property
    def seconds(self) -> float:
        """How long the run took so far."""
        return time.monotonic() - self._begin

    # --- told by the solver

    def line(self, text: str, place: str) -> None:
        """Show a line of the log, if they are to be seen; and that a test begins."""
        if self._verbose:
            self._bar.say(glog_line(text, place))
        if "Testing net" in text and self._stages[2]:
            self._bar.show(presentable(text))

    def started(self, solver: Solver) -> None:
        """Take the time from here."""
        self.started_once = True
        param = solver.param
        self._stages = (solver.iteration, param.test_interval if solver.test_nets else 0, param.max_iter)
        self._begin = self._last = time.monotonic()

    def stepped(self, solver: Solver, step: Step) -> None:
        """Show the iteration, now and then."""
        now = time.monotonic()
        self._active = KEPT * self._active + now - self._last
        self._images = KEPT * self._images + step.images
        self._iterations = KEPT * self._iterations + 1
        self._last = now
        self.step = step
        self._bar.add()

    def tested(self, solver: Solver, test: Test) -> None:
        """Show what a test net gave."""
        now = time.monotonic()
        self._testing[test.net] = now - self._last
        self._last = now
        self.tests[test.net] = test
        self._bar.say(f"iteration {test.iteration}: {test_text(test)}")

    def snapshotted(self, solver: Solver, state: Path) -> None:
        """Show where a snapshot lies."""
        self._last = time.monotonic()
        self.snapshot = state
        self._bar.say(f"iteration {solver.iteration}: snapshot {state}")

    def finished(self, solver: Solver) -> None:
        """Take the bar away."""
        self._bar.end()

    @contextmanager
    def under_warnings(self) -> Iterator[None]:
        """While it is entered, warnings stand in lines of their own, above the bar."""
        show = warnings.showwarning

        def shown_above(*arguments: Any) -> None:
            self._bar.end()
            show(*arguments)

        warnings.showwarning = cast(Any, shown_above)
        try:
            yield
        finally:
            warnings.showwarning = show

    # --- what the bar says

    def text(self) -> str:
        """Such as `iteration 120/1000, loss 0.532, rate 0.01, 640 images/s, 0:26 left`."""
        step = self.step
        if step is None:
            return ""
        parts = [f"iteration {step.iteration + 1}/{self._stages[2]}"]
        parts += [f"loss {step.smoothed_loss:.4g}", f"rate {number(step.rate)}"]
        if self._active > 0:
            speed = self._images or self._iterations
            parts.append(f"{speed / self._active:.3g} {'images' if self._images else 'iterations'}/s")
        parts.append(f"{clock(self.seconds_left())} left")
        return ", ".join(parts)

    def seconds_left(self) -> float:
        """How long yet: the iterations and tests to come, each as long as those of late."""
        _, interval, last = self._stages
        done = self.step.iteration + 1 if self.step else self._stages[0]
        tests = last // interval - done // interval if interval > 0 else 0
        pace = self._active / self._iterations if self._iterations else 0.0
        return max(last - done, 0) * pace + max(tests, 0) * sum(self._testing.values())


class _Bar(Progress):
    """A line on a terminal, written over and over; else a line every ten seconds.

    A terminal that is closed, which SIGHUP tells, does not end the run: from then on nothing is shown.
    """

    def __init__(self, now: Callable[[], str]) -> None:
        super().__init__(None, "iterations")
        self._now = now

    def text(self, seconds: float) -> str:
        columns = shutil.get_terminal_size().columns if self._terminal else 1000
        return presentable(self._now())[: columns - 1]

    def add(self, count: int = 1) -> None:
        with _deaf_terminal():
            super().add(count)

    def show(self, text: str) -> None:
        """Say `text` in the line that is written over; where there is none, nothing."""
        if self._terminal:
            with _deaf_terminal():
                self._show(text[: shutil.get_terminal_size().columns - 1])

    def say(self, text: str) -> None:
        """Say `text` in a line of its own, above the bar."""
        with _deaf_terminal():
            self.line(presentable(text))

    def end(self) -> None:
        """Take the bar away."""
        with _deaf_terminal():
            self.__exit__(None, None, None)


@contextmanager
def _deaf_terminal() -> Iterator[None]:
    """Goes on where stderr can be written no more; all that comes later goes nowhere."""
    try:
        yield
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def test_text(test: Test) -> str:
    """What a test net gave: `test accuracy 0.98, loss 0.06`; further test nets are `test #1`."""
    scores = [f"{name} {number(value)}" for name, value in _named(test.scores)[:MAX_SCORES]]
    if len(test.scores) > MAX_SCORES:
        scores.append(f"and {len(test.scores) - MAX_SCORES} more")
    if test.loss is not None:
        scores.append(f"total loss {number(test.loss)}")
    return f"test{f' #{test.net}' if test.net else ''} {', '.join(scores)}"


def _named(scores: Sequence[Score]) -> list[tuple[str, float]]:
    return [(shown(score.name), score.value) for score in scores]
