"""`caffecompat time --precision int8`: how the pictures that it is calibrated with are prepared."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from caffecompat.cli import timing_engine
from tests.cli.records import call
from tests.engines.engine_nets import CLASSIFIER

NOTE = "the prototxt states neither mean nor scale"
INT8 = ("--engine", "openvino", "--precision", "int8", "--calibration")


@pytest.fixture
def made(tmp_path, monkeypatch):
    """Calls the command on one picture of blue 10, green 20, red 30; gives what the net is calibrated with, and notes.

    Nothing is measured: that the engine computes is tested elsewhere.
    """
    (tmp_path / "one").mkdir()
    cv2.imwrite(str(tmp_path / "one" / "1.png"), np.full((21, 18, 3), (10, 20, 30), np.uint8))
    taken = []

    def keep(net, engine, precision, calibration, iterations):
        taken.append(calibration)
        return {"engine": engine, "precision": precision, "threads": 1, "forward_ms": 1.0, "plain_forward_ms": 1.0}

    monkeypatch.setattr(timing_engine, "measured", keep)

    def time(*options, net=CLASSIFIER):
        (tmp_path / "net.prototxt").write_text(net)
        told = call("time", tmp_path / "net.prototxt", *INT8, tmp_path / "one", *options).stderr
        (batch,) = taken[-1].batches([0], {"data": torch.zeros(1, 3, 21, 18)})
        return batch.inputs["data"][0, :, 0, 0].tolist(), told

    return time


def test_pictures_are_prepared_as_the_options_say(made):
    values, told = made("--mean", "2,4,6", "--scale", "0.5", "--channels", "rgb")
    assert values == [14, 8, 2]
    assert NOTE not in told


def test_pictures_are_prepared_as_the_prototxt_says(made):
    values, told = made(net=CLASSIFIER.replace('top: "data"', 'top: "data" transform_param { scale: 0.1 }', 1))
    assert values == pytest.approx([1, 2, 3])
    assert NOTE not in told


def test_what_nothing_prepares_is_told(made):
    values, told = made()
    assert values == [10, 20, 30]
    assert NOTE in told


def test_nothing_is_prepared_where_no_pictures_are_read(tmp_path):
    (tmp_path / "net.prototxt").write_text(CLASSIFIER)
    told = call("time", tmp_path / "net.prototxt", "--scale", "2", code=2).stderr
    assert "--scale goes with --calibration" in told
