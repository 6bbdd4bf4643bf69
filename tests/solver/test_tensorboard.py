from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from caffecompat.errors import CaffeCompatError, UnsupportedError
from caffecompat.solver import Score, Step, Test
from caffecompat.solver import tensorboard as module
from caffecompat.solver.tensorboard import TensorBoard


def scalars(folder):
    """What TensorBoard itself reads: the values by name and step."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {
        name: [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_scalars_of_a_run(tmp_path, monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    listener = TensorBoard(tmp_path / "board")
    listener.tested(None, Test(0, 0, (Score("accuracy", 0.1), Score("loss", 2.3, 1.0)), loss=2.3))
    listener.tested(None, Test(0, 1, (Score("score", 1.0), Score("score", 2.0))))
    for iteration in range(4):
        clock.now += 0.5
        listener.stepped(None, Step(iteration, 2.0 - iteration, 3.0 - iteration, 0.01, 8))
    listener.finished(None)
    found = scalars(tmp_path / "board")
    assert found == {
        "train/loss": [(0, 2.0), (1, 1.0), (2, 0.0), (3, -1.0)],
        "train/smoothed_loss": [(0, 3.0), (1, 2.0), (2, 1.0), (3, 0.0)],
        "train/rate": [(place, 0.01) for place in range(4)],
        "train/images_per_second": [(1, 16.0), (3, 16.0)],
        "test/accuracy": [(0, 0.1)],
        "test/loss": [(0, 2.3)],
        "test/total_loss": [(0, 2.3)],
        "test_1/score/0": [(0, 1.0)],
        "test_1/score/1": [(0, 2.0)],
    }


def test_without_the_package_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'caffecompat\[tensorboard\]'"):
        TensorBoard(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("")
    with pytest.raises(CaffeCompatError, match="cannot be written"):
        TensorBoard(tmp_path / "file" / "board")
