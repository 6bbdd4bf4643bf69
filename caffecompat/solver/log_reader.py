"""Curves out of the log of a run: Caffe's own (BVLC's and the SSD branch's) and those of `CaffeLog`."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from caffecompat.errors import FormatError
from caffecompat.formats.text_file import read_bytes

MAX_LINE = 4096
MAX_POINTS = 5_000_000
MAX_CURVES = 10_000

# C++ writes nan, -nan and inf.
_NUMBER = r"([-+]?(?:nan|inf|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?))"
_ITERATION = re.compile(r"Iteration ([0-9]{1,12})\b")
# BVLC's later versions write the speed between: `Iteration 20 (3.1 iter/s, 6.4s/20 iters), loss = 0.5`.
_LOSS = re.compile(rf"Iteration [0-9]{{1,12}}(?: \([^()]*\))?, loss = {_NUMBER}")
_RATE = re.compile(rf"Iteration [0-9]{{1,12}}, lr = {_NUMBER}")
_TESTING = re.compile(r"Iteration [0-9]{1,12}, Testing net \(#([0-9]{1,6})\)")
_OUTPUT = re.compile(
    rf"(Train|Test) net output #[0-9]{{1,9}}: (.{{1,200}}?) = {_NUMBER}(?: \(\* {_NUMBER} = {_NUMBER} loss\))?\s*$"
)
_TEST_LOSS = re.compile(rf"Test loss: {_NUMBER}")


@dataclass
class Curve:
    """Values over iterations; where a run was resumed, the later values stand in the place of the earlier ones.

    Attributes:
        iterations: rising.
        values: one for each; nan and infinities are kept.
    """

    iterations: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))

    def add(self, iteration: int, value: float) -> None:
        """Take a value; those of this iteration and of later ones are forgotten."""
        while self.iterations and self.iterations[-1] >= iteration:
            self.iterations.pop()
            self.values.pop()
        self.iterations.append(iteration)
        self.values.append(value)

    def __len__(self) -> int:
        return len(self.iterations)


@dataclass
class TestOutput:
    """An output of a test net.

    Attributes:
        net: the number of the test net.
        name: the blob's name; with its place, as `scores[1]`, if the blob has several values.
        is_loss: it has a weight in the loss; an accuracy has none.
        curve: its values.
    """

    __test__ = False  # not one of pytest's

    net: int
    name: str
    is_loss: bool
    curve: Curve = field(default_factory=Curve)


@dataclass
class RunLog:
    """What the log of a run shows.

    Attributes:
        file: the log's path.
        loss: the loss of a single pass, summed from the train net's outputs with their weights.
        smoothed: the loss as the solver averages it (`average_loss`).
        rate: the learning rate.
        tests: the outputs of the test nets.
        test_loss: the test nets' total losses by their number, of solvers with `test_compute_loss`.
    """

    file: Path
    loss: Curve = field(default_factory=Curve)
    smoothed: Curve = field(default_factory=Curve)
    rate: Curve = field(default_factory=Curve)
    tests: list[TestOutput] = field(default_factory=list)
    test_loss: dict[int, Curve] = field(default_factory=dict)


def read_log(path: str | os.PathLike[str]) -> RunLog:
    """Read the log of a run.

    Args:
        path: the file that Caffe or `caffecompat train` wrote, or what either wrote to stderr.

    Raises:
        FormatError: it cannot be read, is no log, or shows no iterations.
    """
    reader = _Reader(RunLog(Path(path)))
    lines = 0
    for line in _lines(path):
        lines += 1
        reader.take(line)
    reader.end_pass()
    log = reader.log
    if not lines:
        raise FormatError("expected the log of a run, got an empty file", file=path)
    if not reader.met:
        hint = "logs have lines such as `I1124 07:35:32.123456 12345 solver.cpp:243] Iteration 20, loss = 0.5`"
        raise FormatError("expected the log of a run, got a file without iterations", file=path, hint=hint)
    if not log.smoothed and not log.tests and not log.test_loss:
        hint = "the solver's display says how often the loss is written, test_interval how often the tests"
        raise FormatError("the log shows neither a loss nor a test", file=path, hint=hint)
    return log


class _Reader:
    """Takes the lines of a log, in order."""

    def __init__(self, log: RunLog) -> None:
        self.log = log
        self.met = False
        self._iteration = 0
        self._net = 0
        self._points = 0
        self._loss: float | None = None
        self._seen: dict[str, int] = {}
        self._tests: dict[tuple[int, str, int], TestOutput] = {}

    def take(self, line: str) -> None:
        match = _ITERATION.search(line)
        if match:
            self.end_pass()
            self.met = True
            self._iteration = int(match[1])
            self._take_iteration(line)
        elif self.met and (match := _OUTPUT.search(line)):
            self._take_output(match)
        elif self.met and (match := _TEST_LOSS.search(line)):
            self._add(self.log.test_loss.setdefault(self._net, Curve()), float(match[1]))

    def end_pass(self) -> None:
        """The outputs of a pass are all there."""
        if self._loss is not None:
            self._add(self.log.loss, self._loss)
        self._loss = None
        self._seen.clear()

    def _take_iteration(self, line: str) -> None:
        if match := _LOSS.search(line):
            self._add(self.log.smoothed, float(match[1]))
        elif match := _RATE.search(line):
            self._add(self.log.rate, float(match[1]))
        elif match := _TESTING.search(line):
            self._net = int(match[1])

    def _take_output(self, match: re.Match[str]) -> None:
        kind, name, value, _, weighted = match.groups()
        if kind == "Train":
            if weighted is not None:
                self._loss = (self._loss or 0.0) + float(weighted)
            return
        place = self._seen.get(name, 0)
        self._seen[name] = place + 1
        key = (self._net, name, place)
        if key not in self._tests:
            if len(self._tests) >= MAX_CURVES:
                raise FormatError(f"the log shows more than {MAX_CURVES} outputs", file=self.log.file)
            if place == 1:
                self._tests[self._net, name, 0].name = f"{name}[0]"
            self._tests[key] = TestOutput(self._net, f"{name}[{place}]" if place else name, weighted is not None)
            self.log.tests.append(self._tests[key])
        self._add(self._tests[key].curve, float(value))

    def _add(self, curve: Curve, value: float) -> None:
        self._points += 1
        if self._points > MAX_POINTS:
            raise FormatError(f"the log shows more than {MAX_POINTS} values", file=self.log.file)
        curve.add(self._iteration, value)


def _lines(path: str | os.PathLike[str]) -> Iterator[str]:
    """The lines of a text, the end of overlong ones left out."""
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise FormatError("expected a file, got something else", file=path)
        read_bytes(path, 0)
        with open(path, encoding="utf-8", errors="replace") as stream:
            whole = True
            while line := stream.readline(MAX_LINE):
                if whole:
                    yield line
                whole = line.endswith("\n")
    except (OSError, ValueError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        raise FormatError(f"cannot be read: {reason}", file=path) from error
