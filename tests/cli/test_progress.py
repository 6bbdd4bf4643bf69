from __future__ import annotations

from caffecompat.cli import progress
from caffecompat.cli.progress import Progress


def test_rate_and_time_left():
    shown = Progress(100, "images")
    shown.add(25)
    assert shown.text(10.0) == "25/100 images, 2.5/s, 0:30 left"
    shown = Progress(10_000, "images")
    shown.add(1)
    assert shown.text(1.0) == "1/10000 images, 1/s, 2:46:39 left"
    assert shown.text(0.0) == "1/10000 images, 0/s, 0:00 left"


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
