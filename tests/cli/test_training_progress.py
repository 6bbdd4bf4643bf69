from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from caffecompat.cli import progress as progress_of_cli
from caffecompat.cli import training_progress
from caffecompat.cli.training_progress import TrainingProgress, test_text
from caffecompat.solver import Score, Step, Test

test_text.__test__ = False


class Clock:
    """Time that passes when it is told to."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(training_progress, "time", clock)
    return clock


def solver(iteration=0, tests=1, interval=100, last=1000):
    param = SimpleNamespace(test_interval=interval, max_iter=last)
    return SimpleNamespace(iteration=iteration, param=param, test_nets=[None] * tests)


def steps(progress, clock, first, count, seconds=0.5, images=32):
    for iteration in range(first, first + count):
        clock.now += seconds
        progress.stepped(solver(iteration + 1), Step(iteration, 0.7, 0.53217, 0.01, images))


def test_rate_and_time_left_of_iterations_alone(clock, capsys):
    progress = TrainingProgress()
    progress.started(solver(tests=0))
    steps(progress, clock, 0, 120)
    assert progress.text() == "iteration 120/1000, loss 0.5322, rate 0.01, 64 images/s, 7:20 left"
    steps(progress, clock, 120, 1000, seconds=0.25)
    # The speed of late counts, not that of the beginning.
    assert "128 images/s" in progress.text()
    assert capsys.readouterr().out == ""


def test_tests_to_come_take_as_long_as_the_last_and_slow_no_images(clock):
    progress = TrainingProgress()
    progress.started(solver(tests=2))
    for net, seconds in ((0, 10.0), (1, 20.0)):
        clock.now += seconds
        progress.tested(solver(), Test(0, net, (Score("accuracy", 0.5),)))
    steps(progress, clock, 0, 50)
    clock.now += 60
    progress.snapshotted(solver(50), Path("x.solverstate"))
    steps(progress, clock, 50, 50)
    assert "64 images/s" in progress.text()
    # 900 iterations of half a second, and the tests at 200, 300, ... 1000.
    assert progress.seconds_left() == pytest.approx(900 * 0.5 + 9 * 30)


def test_a_resumed_run_and_one_without_items(clock):
    progress = TrainingProgress()
    progress.started(solver(iteration=900, interval=0))
    steps(progress, clock, 900, 10, images=0)
    assert progress.text() == "iteration 910/1000, loss 0.5322, rate 0.01, 2 iterations/s, 0:45 left"
    assert progress.step.iteration == 909


def test_lines_of_tests_and_snapshots(clock, capsys):
    progress = TrainingProgress()
    progress.started(solver())
    progress.tested(solver(), Test(20, 0, (Score("accuracy", 0.98), Score("loss", 0.06, 1.0))))
    progress.tested(solver(), Test(20, 1, tuple(Score(f"{n}\x1b", n) for n in range(8)), loss=2.5))
    progress.snapshotted(solver(40), Path("a/x_iter_40.solverstate"))
    progress.line("Iteration 20, loss = 5", "solver.cpp:243")
    progress.finished(solver())
    assert capsys.readouterr().err.splitlines() == [
        "iteration 20: test accuracy 0.98, loss 0.06",
        "iteration 20: test #1 0\\x1b 0, 1\\x1b 1, 2\\x1b 2, 3\\x1b 3, 4\\x1b 4, 5\\x1b 5, and 2 more, total loss 2.5",
        "iteration 40: snapshot a/x_iter_40.solverstate",
    ]
    assert progress.snapshot == Path("a/x_iter_40.solverstate")


def test_verbose_shows_the_lines_of_the_log(capsys):
    progress = TrainingProgress(verbose=True)
    progress.line("Iteration 20, loss = 5", "solver.cpp:243")
    assert capsys.readouterr().err.endswith(" solver.cpp:243] Iteration 20, loss = 5\n")


SCRIPT = """
import warnings
from types import SimpleNamespace
from caffecompat.cli import progress, training_progress
from caffecompat.solver import Step
progress.TERMINAL_PAUSE = 0.0
shown = training_progress.TrainingProgress()
shown.started(SimpleNamespace(iteration=0, param=SimpleNamespace(test_interval=0, max_iter=5), test_nets=[]))
for iteration in range(5):
    shown.stepped(None, Step(iteration, 1.0, 1.0, 0.01, 1))
    if iteration == 1:
        with shown.under_warnings():
            warnings.warn("careful")
    if iteration == 2:
        shown.line("Iteration 3, Testing net (#0)", "solver.cpp:433")
        shown.snapshotted(SimpleNamespace(iteration=3), "a")
shown.finished(None)
"""


def test_where_no_terminal_is_lines_are_whole(clock, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(progress_of_cli, "time", clock)
    progress = TrainingProgress()
    progress.started(solver(tests=0))
    steps(progress, clock, 0, 120)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "iteration 120/1000, loss 0.5322, rate 0.01, 64 images/s, 7:20 left"


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="this system has no terminals of this kind")
@pytest.mark.parametrize("columns", [40, 120])
def test_on_a_terminal_one_line_is_written_over(columns):
    ours, theirs = os.openpty()
    environment = {**os.environ, "COLUMNS": str(columns)}
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", SCRIPT], stderr=theirs, env=environment, cwd=root, check=True, timeout=60)
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(ours)
    rows = said.decode().replace("\r\n", "\n").split("\n")
    # Three lines: the warning, the snapshot, and what is written over at last by blanks.
    assert len(rows) == 3
    assert rows[0].rpartition("\r")[2].endswith(": UserWarning: careful")
    assert rows[1].endswith("\riteration 3: snapshot a")
    assert "Testing net (#0)" in rows[1]
    assert rows[2].endswith("\r")
    shown = [text for row in rows for text in row.split("\r") if text]
    assert sum(text.startswith("iteration ") and "loss" in text for text in shown) == 5
    assert max(map(len, shown)) < columns
