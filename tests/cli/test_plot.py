from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.solver import plot as drawing
from caffecompat.solver.log_reader import read_log
from tests.solver.test_log_reader import BVLC, SSD


def plot(*arguments, code=0):
    result = CliRunner().invoke(main, ["plot", *map(str, arguments)])
    assert result.exit_code == code, result.stderr
    return result


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.log").write_text(BVLC)
    (tmp_path / "ssd.log").write_text(SSD)
    return tmp_path / "run.log"


def long_log(path, average=False, count=200):
    """A run whose loss is noise on a curve; with `average`, the solver averages it."""
    chance = np.random.default_rng(1)
    lines = []
    for iteration in range(0, 10 * count, 10):
        curve = 2 * np.exp(-iteration / 500) + 0.1
        loss = curve + chance.normal() * 0.05
        shown = curve if average else loss
        lines.append(f"I1124 07:35:32.123456 1 solver.cpp:243] Iteration {iteration}, loss = {shown:.6g}")
        lines.append(f"I     Train net output #0: loss = {loss:.6g} (* 1 = {loss:.6g} loss)")
        lines.append(f"I Iteration {iteration}, lr = {0.1 if iteration < 5 * count else 0.01}")
    path.write_text("\n".join(lines))
    return path


def test_a_picture_is_written_where_it_is_wanted(log):
    result = plot("run.log")
    image = cv2.imread("run.png")
    assert result.stdout == ""
    assert result.stderr.endswith(f"wrote run.png ({log.with_suffix('.png').stat().st_size:,} bytes)\n")
    assert image.shape[0] > 400
    assert image.shape[1] > 600
    # Something is drawn, in the colours of the training loss and of a test output.
    for colour in drawing.COLOURS[:2]:
        wanted = [int(colour[place : place + 2], 16) for place in (5, 3, 1)]
        assert (abs(image.astype(int) - wanted).max(axis=2) < 3).sum() > 100
    plot("run.log", "ssd.log", "-o", "two.svg")
    assert "<svg" in (log.parent / "two.svg").read_text()
    plot("ssd.log", "-o", "ssd.pdf")
    assert (log.parent / "ssd.pdf").read_bytes().startswith(b"%PDF")


def drawn(monkeypatch, *paths):
    """The lines that are drawn, by name: (axis, x, y)."""
    pytest.importorskip("matplotlib")
    found = {}

    def take(left, lines, title):
        found.update({line.name: (line.axis, line.x.tolist(), line.y) for line in lines})

    monkeypatch.setattr(drawing, "_draw", take)
    drawing.plot_logs([read_log(path) for path in paths], paths[0].with_suffix(".png"))
    return found


def test_what_is_drawn_and_on_which_axis(log, monkeypatch):
    found = drawn(monkeypatch, log)
    shown = {name: (axis, x, y.tolist()) for name, (axis, x, y) in found.items()}
    assert shown == {
        "loss": ("loss", [0, 100], [2.4, 0.2]),
        "loss, averaged by the solver": ("loss", [0, 100, 200], [2.4, 0.25, 0.125]),
        "test accuracy": ("score", [0, 200], [0.0625, 0.96875]),
        "test loss": ("loss", [0, 200], [2.5, 0.1]),
        "learning rate": ("rate", [0, 100], [0.01, 0.00992565]),
    }


def test_several_logs_have_their_names_and_gaps_where_a_loss_is_no_number(log, monkeypatch):
    found = drawn(monkeypatch, log, log.parent / "ssd.log")
    assert {name.rpartition(" (")[2] for name in found} == {"run.log)", "ssd.log)"}
    axis, x, y = found["loss (ssd.log)"]
    assert (axis, x, y[0]) == ("loss", [0, 10], 20.25)
    assert np.isnan(y[1])
    assert found["test detection_eval (ssd.log)"][0] == "score"
    assert found["test #1 scores[1] (ssd.log)"][2].tolist() == [2.0]
    assert found["test total loss (ssd.log)"][0] == "loss"


def test_a_loss_that_the_solver_does_not_average_is_averaged_here(tmp_path, monkeypatch):
    log = long_log(tmp_path / "run.log")
    found = drawn(monkeypatch, log)
    assert list(found) == ["loss", "loss, mean of 10 values", "learning rate"]
    single, mean = found["loss"][2], found["loss, mean of 10 values"][2]
    for place in (0, 3, 50, 199):
        assert mean[place] == pytest.approx(single[max(place - 9, 0) : place + 1].mean())
    found = drawn(monkeypatch, long_log(tmp_path / "averaged.log", average=True))
    assert list(found) == ["loss", "loss, averaged by the solver", "learning rate"]


def test_a_run_that_diverged_is_drawn(tmp_path):
    values = ["87.3", "1e10", "3.4e38", "-1e300", "inf", "nan", "-nan"]
    lines = [f"Iteration {place}, loss = {value}" for place, value in enumerate(values)]
    (tmp_path / "run.log").write_text("\n".join(lines))
    plot(tmp_path / "run.log", "-o", tmp_path / "run.png")
    (tmp_path / "nan.log").write_text("Iteration 0, loss = nan\nIteration 1, loss = nan\n")
    plot(tmp_path / "nan.log", "-o", tmp_path / "run.png")


def test_names_are_drawn_as_they_are(tmp_path):
    name = tmp_path / "$\\frac{1}$ _\u4f60.log"
    outputs = [f"Test net output #{n}: $\\bad{n}_{{\u4f60 = 5" for n in range(14)]
    name.write_text("Iteration 0, Testing net (#0)\n" + "\n".join(outputs))
    result = plot(name, "-o", tmp_path / "run.png")
    assert "14 test outputs, of which the first 12 are drawn" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.log"], 1, "none.log: there is no such file"),
        (["empty.log"], 1, "empty.log: expected the log of a run, got an empty file"),
        (["notes.txt"], 1, "notes.txt: expected the log of a run, got a file without iterations"),
        (["run.log", "-o", "run.gif"], 2, "ends in .png, .svg, .pdf, got 'run.gif'"),
        (["run.log", "-o", "none/run.png"], 1, "none/run.png: cannot be written"),
        (["run.log", "-o", "run.log"], 2, "run.log is an input"),
        ([], 2, "Missing argument"),
    ],
)
def test_faults_are_told(log, arguments, code, message):
    (log.parent / "empty.log").write_text("")
    (log.parent / "notes.txt").write_text("Buy milk.\n")
    result = plot(*arguments, code=code)
    assert message in result.stderr
    assert not list(log.parent.glob("*.png"))


def test_without_matplotlib_the_way_out_is_told(log, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert "pip install 'caffecompat[plot]'" in plot("run.log", code=1).stderr
