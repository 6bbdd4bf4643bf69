"""Solver: the loop that trains a net as its prototxt says.

Source of the rules: Caffe's `solver.cpp` (the SSD branch) and the files of its solvers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from caffecompat.data.draws import Draws
from caffecompat.errors import CaffeCompatError, UsageError
from caffecompat.formats import read_solver
from caffecompat.formats.parsed import ParsedSolver
from caffecompat.formats.weights import Weights
from caffecompat.net import Net
from caffecompat.net.precision import gpu_precision
from caffecompat.solver.building import WeightsLike, build_nets, positive, read_sources
from caffecompat.solver.debug import DebugInfo
from caffecompat.solver.devices import autocast, device_of, is_small, threads
from caffecompat.solver.diffs import keep_steps
from caffecompat.solver.faults import Guard
from caffecompat.solver.group import Group
from caffecompat.solver.listeners import Listener, Step, Test, number, score_lines, scores_of
from caffecompat.solver.options import Options
from caffecompat.solver.policies import LearningRate
from caffecompat.solver.reparameterized import reparameterized_update
from caffecompat.solver.smoothing import SmoothedLoss
from caffecompat.solver.snapshots import Snapshots
from caffecompat.solver.testing import check_evaluation, run_test

Action = Literal["none", "snapshot", "stop"]


class Solver:
    """Trains a net as a solver prototxt says.

    >>> solver = Solver.from_prototxt("solver.prototxt", weights="vgg.caffemodel")
    >>> solver.solve()

    Args:
        parsed: the solver, in today's form.
        weights: weight files to start from, each over the last; those that the solver names come before them.
        options: how to run it, beyond what it says.
        group: the processes that train together; None if this one trains alone.
        listeners: who is told what happens, from the building of the nets on.

    Attributes:
        parsed: the solver that was given.
        param: its message.
        net: the net that is trained.
        test_nets: the nets that are tested; their parameters are the train net's.
        assigned: what each weight file did to the train net.
        iteration: how many updates were made.
        update: the update rule, a `torch.optim.Optimizer`.
        rate: the learning-rate policy.
        smoothed: the loss averaged over the last `average_loss` iterations.
        outputs: what the train net gave in its last pass.
        guard: keeps values that are not finite out of the parameters; counts the updates that were skipped for it.
        listeners: who is told what happens.
        action: asked after every iteration and every pass of a test what to do: "none", "snapshot" or "stop".

    Raises:
        CaffeCompatError: a file cannot be read, the layers make no net, or a setting makes no sense.
    """

    def __init__(
        self,
        parsed: ParsedSolver,
        *,
        weights: Sequence[WeightsLike] = (),
        options: Options | None = None,
        group: Group | None = None,
        listeners: Iterable[Listener] = (),
    ) -> None:
        self.parsed = parsed
        self.param = parsed.message
        self.options = options or Options()
        self.group = group or Group()
        self.listeners = list(listeners)
        self.action: Callable[[], Action] = lambda: "none"
        self.iteration = 0
        self.outputs: Mapping[str, Tensor] = {}
        self.smoothed = SmoothedLoss(positive(parsed, "average_loss"))
        self.guard = Guard(self)
        self._iter_size = positive(parsed, "iter_size")
        self._stopped = False
        self._pending: Action = "none"
        self._exact = False
        check_evaluation(parsed)
        self.device = device_of(parsed, self.options, self.group)
        self.rate = LearningRate(parsed)
        self.snapshots = Snapshots(parsed, self.options, writes=self.group.rank == 0)
        seed = int(self.param.random_seed) if self.param.random_seed >= 0 else None
        if seed is not None:
            torch.manual_seed(seed)
        self._draws = Draws(None if seed is None else seed + self.group.rank)
        sources = read_sources(parsed, self.options, weights)
        built = build_nets(parsed, self.options, self.group, self.device, self._draws, sources, self.say)
        self.net, self.test_nets, self.assigned = built
        if self.group.rank == 0:
            self.rate.check_tested(self.test_nets)
        self._small = self.device.type == "cpu" and is_small(self.net)
        self.update = reparameterized_update(parsed, self.net, self.assigned, self.options, self.group)
        if self.param.snapshot_diff:
            keep_steps(self.update)
        self.group.start(self.net)

    @classmethod
    def from_prototxt(
        cls,
        path: str | os.PathLike[str],
        weights: WeightsLike | Sequence[WeightsLike] | None = None,
        *,
        group: Group | None = None,
        listeners: Iterable[Listener] = (),
        **options: Any,
    ) -> Solver:
        """A solver from its prototxt.

        Args:
            path: the solver's prototxt, of any age.
            weights: a weight file to start from, or several; one text may name several, separated by commas.
            group: the processes that train together.
            listeners: who is told what happens.
            options: as the attributes of `Options`: dialect, device, root, workers, exact_resume, ...

        Raises:
            CaffeCompatError: a file cannot be read, the layers make no net, or a setting makes no sense.
        """
        given = [weights] if isinstance(weights, (str, os.PathLike, Weights)) else list(weights or ())
        several: list[WeightsLike] = []
        for item in given:
            several += item.split(",") if isinstance(item, str) else [item]
        return cls(read_solver(path), weights=several, options=Options(**options), group=group, listeners=listeners)

    # --- running

    def solve(self, resume: str | os.PathLike[str] | None = None) -> None:
        """Train up to `max_iter`, with tests and snapshots as the solver says.

        Args:
            resume: a `.solverstate` to go on from.

        Raises:
            CaffeCompatError: the loss is not finite, a record cannot be read, a snapshot cannot be written; the last
                is found out before the first iteration.
        """
        self._stopped = False
        self.say(f"Solving {self.net.graph.name}", "solver.cpp:308")
        self.say(f"Learning Rate Policy: {self.param.lr_policy}", "solver.cpp:309")
        if self.param.snapshot_after_train and self.group.rank == 0:
            self.snapshots.check()
        if resume is not None:
            self.restore(resume)
        for listener in self.listeners:
            listener.started(self)
        try:
            with self.group.together():
                self.step(max(self.param.max_iter - self.iteration, 0))
                own = self.snapshots.path(self.iteration)
                # A run that had nothing left to do has its snapshot.
                there = resume is not None and own is not None and os.path.realpath(resume) == os.path.realpath(own)
                if self.param.snapshot_after_train and not self._due(self.param.snapshot) and not there:
                    self.snapshot()
                if self._stopped:
                    self.say("Optimization stopped early.", "solver.cpp:332")
                    return
                self._show_last()
            self.say("Optimization Done.", "solver.cpp:353")
        finally:
            for listener in self.listeners:
                listener.finished(self)

    def _show_last(self) -> None:
        """The last pass and test, by which Caffe shows what came of it."""
        if self._due(self.param.display):
            with torch.no_grad(), self._precision():
                loss, _ = self.group.run(self.net)
            smoothed = self.smoothed.add(self.group.mean(float(loss)))
            self.say(f"Iteration {self.iteration}, loss = {number(smoothed)}", "solver.cpp:347")
        if self._due(self.param.test_interval):
            self.test()

    def step(self, iterations: int = 1) -> float:
        """Make so many updates, with tests, log lines and snapshots as they fall due.

        Returns:
            The loss averaged over the last `average_loss` iterations.

        Raises:
            UsageError: `iterations` is below 0.
            CaffeCompatError: the loss is not finite, a record cannot be read, a snapshot cannot be written.
        """
        if iterations < 0:
            raise UsageError(f"expected a number of iterations of at least 0, got {iterations}")
        stop = self.iteration + iterations
        if not self._exact:
            self.smoothed.clear()
        self._exact = False
        with self.group.together(), threads(single=self._small), self._precision():
            while self.iteration < stop:
                if self._due(self.param.test_interval) and (self.iteration > 0 or self.param.test_initialization):
                    self.test()
                    # The first process tests; here the others wait for it.
                    self._stopped = bool(self.group.same(self._stopped))
                    if self.rate.follows_tests:
                        self.rate.iter_last_event = self.group.same(self.rate.iter_last_event)
                if self._stopped:
                    break
                self._iterate()
                action = self._asked()
                if self._due(self.param.snapshot) or action == "snapshot":
                    self.snapshot()
                if action == "stop":
                    self._stopped = True
                    break
        return self.smoothed.value

    def _precision(self) -> AbstractContextManager[None]:
        return gpu_precision(self.device, tf32=self.options.precision == "tf32")

    def _due(self, interval: int) -> bool:
        return interval > 0 and self.iteration % interval == 0

    def _asked(self) -> Action:
        """What the processes are asked to do; all do the same, to stop if one of them is asked to."""
        actions: tuple[Action, ...] = ("none", "snapshot", "stop")
        action = self.action()
        if action == "none":
            action = self._pending
        self._pending = "none"
        return actions[self.group.greatest(actions.index(action))]

    def _iterate(self) -> None:
        """One iteration: the passes, the log's lines, the update."""
        display = self._due(self.param.display)
        self.update.zero_grad(set_to_none=True)
        self.guard.begin()
        debug = DebugInfo(self.net, self.say, wanted=display and self.param.debug_info)
        with debug:
            loss, images = self._passes(debug)
        if self.guard.refuses(loss):
            self.iteration += 1
            return
        smoothed = self.smoothed.add(loss)
        if display:
            self.say(f"Iteration {self.iteration}, loss = {number(smoothed)}", "solver.cpp:243")
            for line in score_lines("Train", scores_of(self.net, self.outputs)):
                self.say(line, "solver.cpp:259")
        rate = self.apply_update(debug)
        done = Step(self.iteration - 1, loss, smoothed, rate, images)
        self.guard.done(done)
        for listener in self.listeners:
            listener.stepped(self, done)

    def apply_update(self, debug: DebugInfo | None = None) -> float:
        """Update the parameters by their gradients, which makes the next iteration.

        Args:
            debug: says how large the gradients and the parameters are.

        Returns:
            The learning rate.
        """
        smoothed = self.smoothed.value
        rate = self.rate.rate(self.iteration, smoothed, lambda text: self.say(text, "sgd_solver.cpp:69"))
        if self._due(self.param.display):
            self.say(f"Iteration {self.iteration}, lr = {number(rate)}", "sgd_solver.cpp:138")
        self.update.prepare(self._iter_size, lambda text: self.say(text, "sgd_solver.cpp:122"))
        if debug is not None:
            debug.before_update()
        self.update.apply(rate, self.iteration)
        if debug is not None:
            debug.after_update()
        self.iteration += 1
        return rate

    def _passes(self, debug: DebugInfo) -> tuple[float, int]:
        """`iter_size` passes forward and backward: the mean loss, and how many items all processes took."""
        total, images = 0.0, 0
        for index in range(self._iter_size):
            with self.guard.watching(), self.group.last(index == self._iter_size - 1):
                value = self.train_pass()
            debug.backward()
            total += value
            images += max((len(reader.batch.keys) for reader in self.net.readers if reader.batch), default=0)
            if self.guard.passed(index, value):
                break
        return self.group.mean(total / self._iter_size), images * self.group.world

    def train_pass(self) -> float:
        """One pass of the train net, forward and backward: the loss; the gradients are added to the parameters'."""
        with autocast(self.device, self.options.precision):
            loss, self.outputs = self.group.run(self.net)
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def test_pass(self, net: Net) -> Mapping[str, Tensor]:
        """One pass forward of a test net: its outputs."""
        outputs: Mapping[str, Tensor] = net()
        return outputs

    def test(self) -> list[Test]:
        """Run the test nets, `test_iter` passes of each.

        Returns:
            What each gave; fewer if a stop was asked for.

        Raises:
            CaffeCompatError: a record cannot be read.
        """
        tests = []
        for index, net in enumerate(self.test_nets):
            self.say(f"Iteration {self.iteration}, Testing net (#{index})", "solver.cpp:433")
            with self._precision():
                test = run_test(self, index, net)
            if test is None:
                self.say("Test interrupted.", "solver.cpp:409")
                break
            if test.loss is not None:
                self.say(f"Test loss: {number(test.loss)}", "solver.cpp:414")
            for line in score_lines("Test", test.scores):
                self.say(line, "solver.cpp:546")
            for listener in self.listeners:
                listener.tested(self, test)
            tests.append(test)
        self.rate.tested(tests, lambda text: self.say(text, "sgd_solver.cpp:69"))
        return tests

    def interrupted(self) -> bool:
        """Whether a stop was asked for; a snapshot that is asked for is written.

        Where several processes train it is written after the next iteration: all have a part in it.
        """
        self.group.check()
        action = self.action()
        while action != "none":
            if action == "stop":
                self._stopped = True
                return True
            if self.group.world > 1:
                self._pending = action
            else:
                self.snapshot()
            action = self.action()
        return self._stopped

    # --- snapshots

    def snapshot(self) -> Path:
        """Write the weights and the solver's state, as `PREFIX_iter_N.caffemodel` and `.solverstate`.

        Returns:
            The path of the `.solverstate`.

        Raises:
            CaffeCompatError: a file cannot be written, or the solver names no `snapshot_prefix`.
        """
        path = self.snapshots.write(self)
        for listener in self.listeners:
            listener.snapshotted(self, path)
        return path

    def restore(self, path: str | os.PathLike[str]) -> None:
        """Go on from a snapshot, of Caffe's or of ours.

        Args:
            path: its `.solverstate` or `.solverstate.h5`.

        Raises:
            CaffeCompatError: it cannot be read, is of another net or solver, or is not the same for all processes.
        """
        self.say(f"Restoring previous solver status from {os.fspath(path)}", "solver.cpp:316")
        with self.group.together():
            self._exact = self.snapshots.restore(self, Path(path))
            first = self.group.same(self.iteration)
            if first != self.iteration:
                where = f"worker 0 resumes at iteration {first}, worker {self.group.rank} at {self.iteration}"
                raise CaffeCompatError(where, file=path, hint="all machines must have the same snapshot")

    # --- saying

    def say(self, text: str, place: str) -> None:
        """Tell the listeners a line of the log; `place` is where Caffe's sources write it."""
        for listener in self.listeners:
            listener.line(text, place)

    def close(self) -> None:
        """Stop the readers of all nets and part from the group."""
        for net in (self.net, *self.test_nets):
            net.close()
        self.group.close()
