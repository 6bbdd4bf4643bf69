"""Engine "auto": which is taken, why not the others, and what is kept on disk."""

from __future__ import annotations

import json
import logging
import time

import pytest
import torch

from caffecompat.engines import Calibration, choosing, optimize
from caffecompat.engines.caching import folder
from caffecompat.engines.comparing import apart
from caffecompat.engines.registry import ENGINES, EngineRow
from caffecompat.engines.torch_eager import TorchEngine
from caffecompat.errors import UnsupportedError
from tests.engines.engine_nets import classifier, detector, pictures

HERE = "tests.engines.test_choosing"


class Slow(TorchEngine):
    name = "slow"

    def run(self, inputs):
        time.sleep(0.3)
        return super().run(inputs)


class Inexact(TorchEngine):
    name = "inexact"

    def run(self, inputs):
        return {name: value * 1.001 for name, value in super().run(inputs).items()}


class Broken(TorchEngine):
    name = "broken"

    def __init__(self, net, settings):
        raise ValueError("it does not start")


@pytest.fixture
def engines(monkeypatch):
    """Engines of known behaviour in the place of the real ones; those that are made are listed."""
    made = []
    monkeypatch.setattr(choosing, "SECONDS", 0.05)

    def put(*classes):
        for name in list(ENGINES):
            monkeypatch.delitem(ENGINES, name)
        for cls in classes:
            row = EngineRow(cls.name, f"{HERE}:{cls.__name__}", ("float32",))
            monkeypatch.setattr(EngineRow, "load", lambda row: made.append(row.name) or known[row.name])
            monkeypatch.setitem(ENGINES, cls.name, row)
        return made

    known = {cls.name: cls for cls in (Slow, Inexact, Broken, TorchEngine)}
    return put


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CAFFECOMPAT_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_the_fastest_that_is_right_is_taken(engines, cache):
    engines(Slow, Inexact, Broken, TorchEngine)
    told = []
    engine = optimize(classifier(), tell=told.append)
    assert engine.name == "torch"
    report = engine.report
    assert (report.chosen, report.cached) == ("torch", False)
    slow, inexact, broken, torch_trial = report.trials
    assert slow.milliseconds >= 300
    assert torch_trial.milliseconds < slow.milliseconds
    assert inexact.fault == "its outputs are not the net's"
    assert inexact.difference == pytest.approx(10, rel=0.1)
    assert inexact.milliseconds is None
    assert "it does not start" in broken.fault
    assert told[-1] == str(report)
    assert f"slow: {slow.milliseconds:.1f} ms" in told[-1]


def test_none_is_right(engines, cache):
    engines(Inexact, Broken)
    with pytest.raises(UnsupportedError, match=r"float32: inexact: its outputs are not the net's; broken: .*start"):
        optimize(classifier())


def test_the_choice_is_kept(engines, cache):
    made = engines(Slow, TorchEngine)
    optimize(classifier())
    assert made == ["slow", "torch"]
    again = optimize(classifier())
    assert made == ["slow", "torch", "torch"]
    assert again.report.cached
    assert again.report.trials[0].milliseconds > 25
    optimize(classifier(), example={"data": pictures(3, 3, 21, 18)})
    other = classifier()
    with torch.no_grad():
        other.layer("fc").bias[0] += 1
    optimize(other)
    optimize(classifier(), threads=torch.get_num_threads() + 1)
    assert made[3:] == ["slow", "torch"] * 3
    assert len(list(cache.iterdir())) == 4


def test_without_a_cache(engines, cache):
    made = engines(TorchEngine)
    for _ in range(2):
        optimize(classifier(), cache=False)
    assert made == ["torch", "torch"]
    assert not cache.exists()


@pytest.mark.parametrize("content", [b"", b"[1, 2", b"[]", b'{"chosen": "torch"}', b"\xff" * 100, b" " * (1 << 17)])
def test_a_spoilt_file_is_written_anew(content, engines, cache):
    made = engines(TorchEngine)
    optimize(classifier())
    (path,) = cache.iterdir()
    path.write_bytes(content)
    assert not optimize(classifier()).report.cached
    assert made == ["torch"] * 2
    assert json.loads(path.read_bytes())["chosen"] == "torch"


def test_a_kept_engine_that_is_gone_or_breaks(engines, cache):
    made = engines(Slow, TorchEngine)
    optimize(classifier())
    (path,) = cache.iterdir()
    for name in ("other", "slow"):
        path.write_bytes(path.read_bytes().replace(b'"chosen": "torch"', f'"chosen": "{name}"'.encode()))
        engine = optimize(classifier())
        assert engine.name == ("torch" if name == "other" else "slow")
    assert made == ["slow", "torch"] * 2 + ["slow"]


def test_a_folder_that_cannot_be_written(engines, cache, caplog):
    engines(TorchEngine)
    cache.write_bytes(b"a file")
    with caplog.at_level(logging.WARNING):
        assert optimize(classifier()).name == "torch"
    assert "cannot be kept" in caplog.text


def test_where_choices_lie(monkeypatch, tmp_path):
    monkeypatch.delenv("CAFFECOMPAT_CACHE", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert folder() == tmp_path / "caffecompat" / "engines"


def test_detections_are_compared_one_by_one():
    net = detector()
    with torch.no_grad():
        wanted = {name: value.detach() for name, value in net(data=pictures()).items()}
    rows = wanted["found"]
    assert apart(net, {"found": rows.flip(2)}, wanted, "float32") == 0
    shifted = rows.clone()
    shifted[0, 0, 0, 3] += 0.01 * max(1, shifted[0, 0, 0, 3].abs())
    assert apart(net, {"found": shifted}, wanted, "float32") > 1
    assert apart(net, {"found": rows[:, :, 1:]}, wanted, "float32") > 0
    assert apart(net, {}, wanted, "float32") == float("inf")


@pytest.fixture
def int8(monkeypatch, cache):
    """Only ONNX Runtime; its choices for int8, with what was told."""
    monkeypatch.setattr(choosing, "SECONDS", 0.05)
    monkeypatch.delitem(ENGINES, "openvino")

    def made(calibration, **options):
        told = []
        engine = optimize(classifier(), "auto", "int8", calibration=calibration, tell=told.append, **options)
        return engine, told

    return made


def test_int8_is_tried_on_what_it_is_calibrated_with(int8):
    """The example is of the calibration where none is given, and what int8 costs is kept with the choice."""
    values = 50 * pictures(24, 3, 21, 18)
    engine, told = int8({"data": values})
    report = engine.report
    assert (report.chosen, report.cached, report.accuracy.items) == ("onnxruntime", False, 6)
    assert told[-1] == str(report)
    assert told[-1].endswith(str(report.accuracy))
    example = engine.settings.example["data"]
    assert all(any(torch.equal(one, other) for other in values) for one in example)

    again, told = int8({"data": values})
    assert again.report.cached
    assert again.report.accuracy.values() == report.accuracy.values()
    assert told == ["int8 is calibrated with 18 items", str(again.report)]
    assert not int8({"data": values + 1})[0].report.cached
    assert not int8(Calibration({"data": values}, held_out=3))[0].report.cached
    given = 50 * pictures(1, 3, 21, 18)
    assert torch.equal(int8({"data": values}, example={"data": given})[0].settings.example["data"], given)


def test_int8_is_not_measured_without_held_out_items(int8):
    """It is tried on what it is calibrated with, and the choice is kept without figures."""
    values = 50 * pictures(4, 3, 21, 18)
    engine, told = int8(Calibration({"data": values}, held_out=0))
    assert engine.report.accuracy is None
    assert told[0] == "int8 is calibrated with 4 items"
    assert "what int8 costs is not measured: no items are held out" in told
    assert torch.equal(engine.settings.example["data"], values[:2])
    again, _ = int8(Calibration({"data": values}, held_out=0))
    assert (again.report.cached, again.report.accuracy) == (True, None)


def test_int8_may_err_much_in_a_few_places():
    """The root of the mean square counts, and of detections those that are no guesses."""
    net = classifier()
    wanted = {"prob": torch.full((50, 7), 1 / 7)}
    one = wanted["prob"].clone()
    one[0, 0] += 0.5
    assert apart(net, {"prob": one}, wanted, "float32") > 1
    assert 0 < apart(net, {"prob": one}, wanted, "int8") < 1
    assert apart(net, {"prob": wanted["prob"] * 1.3}, wanted, "int8") > 1
    rows = torch.tensor([[0, 1, 0.9, 0.1, 0.1, 0.5, 0.5], [0, 1, 0.3, 0.1, 0.1, 0.4, 0.4]])[None, None]
    guessed = rows.clone()
    guessed[..., 1, 3:] += 0.5
    other = rows.clone()
    other[..., 0, 3:] += 0.5
    net = detector()
    assert apart(net, {"found": guessed}, {"found": rows}, "int8") == 0
    assert apart(net, {"found": other}, {"found": rows}, "int8") > 1
