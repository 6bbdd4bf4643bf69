from __future__ import annotations

import cv2
import numpy as np

from caffecompat.cli import progress
from caffecompat.cli.predict import _engine
from caffecompat.cli.progress import Progress
from tests.cli.records import call
from tests.engines.engine_nets import CLASSIFIER


def test_rate_and_time_left():
    shown = Progress(100, "images")
    shown.add(25)
    assert shown.text(10.0) == "25/100 images, 2.5/s, 0:30 left"
    shown = Progress(10_000, "images")
    shown.add(1)
    assert shown.text(1.0) == "1/10000 images, 1/s, 2:46:39 left"
    assert shown.text(0.0) == "1/10000 images, 0/s, 0:00 left"


def test_what_went_before_a_restart_does_not_count(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    shown = Progress(20, "images")
    now[0] += 500
    shown.restart()
    now[0] += progress.LOG_PAUSE
    shown.add(5)
    assert capsys.readouterr().err == "5/20 images, 0.5/s, 0:30 left\n"


def test_without_a_total_there_is_no_time_left():
    shown = Progress(None, "images")
    shown.add(3)
    assert shown.text(2.0) == "3 images, 1.5/s"


def test_short_work_says_nothing_and_long_work_a_line(capsys, monkeypatch):
    with Progress(2, "images") as shown:
        shown.add(2)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(progress, "LOG_PAUSE", 0.0)
    with Progress(2, "images") as shown:
        shown.add(1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("1/2 images, ")
    assert err.endswith(" left\n")


def test_making_an_engine_does_not_count(tmp_path, monkeypatch):
    """The clock starts when the engine is made, before it runs."""
    (tmp_path / "net.prototxt").write_text(CLASSIFIER)
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((21, 18, 3), np.uint8))
    order = []
    restart, make = Progress.restart, _engine.optimize

    def restarting(shown):
        order.append("clock")
        restart(shown)

    def making(*arguments, **options):
        order.append("engine")
        return make(*arguments, **options)

    monkeypatch.setattr(Progress, "restart", restarting)
    monkeypatch.setattr(_engine, "optimize", making)
    call("classify", tmp_path / "net.prototxt", tmp_path / "1.png", "--random-weights", "--engine", "torch")
    assert order == ["clock", "engine", "clock"]
