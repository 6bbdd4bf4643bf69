"""pycaffe with `set_mode_gpu()`: the recorded programs and cases, and what a script sees of blobs there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffecompat.pycaffe as caffe
from caffecompat.errors import UsageError
from tests.layers.golden import cases, differences
from tests.pycaffe import test_copies, test_scenarios
from tests.pycaffe.conftest import no_caffe_left_behind as no_caffe_left_behind
from tests.pycaffe.test_copies import HERE, weight
from tests.pycaffe.test_copies import solver as solver
from tests.pycaffe.test_recorded import NEAR_TIES, found
from tests.pycaffe.test_scenarios import record as record
from tests.solver.runs import RUNS, TRAINING, recorded


@pytest.fixture(autouse=True)
def mode():
    caffe.set_mode_gpu()
    caffe.set_device(0)
    yield
    caffe.set_mode_cpu()


@pytest.mark.parametrize("case", cases(), ids=str)
def test_layers(case, tmp_path, monkeypatch):
    monkeypatch.chdir(case.path.parent)
    caffe.set_dialect(case.dialect)
    try:
        assert differences(case, found(case, tmp_path)) == {}
    finally:
        caffe.set_dialect("ssd")


@pytest.mark.parametrize("name", HERE)
def test_a_program_answers_as_under_the_original(record, name, tmp_path, monkeypatch):
    test_scenarios.test_a_program_answers_as_under_the_original(record, name, tmp_path, monkeypatch)


@pytest.mark.parametrize("run", [run for run in RUNS if run not in NEAR_TIES])
def test_training(run, monkeypatch):
    monkeypatch.chdir(TRAINING)
    solver = caffe.get_solver(f"{run}/solver.prototxt")
    solver.net.copy_from(f"{run}/init.caffemodel")
    losses = []
    for _ in range(15):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    np.testing.assert_allclose(losses, recorded(run)["loss"][:15], atol=1e-5)


def test_blobs_are_on_the_gpu(solver):
    solver.net.forward()
    assert weight(solver)._layer.blobs[0].device.type == "cuda"


@pytest.mark.parametrize(
    "test",
    [
        test_copies.test_what_is_written_counts_and_what_was_read_does_not,
        test_copies.test_a_snapshot_has_what_was_written,
    ],
)
def test_copies_with_files(test, solver, tmp_path):
    test(solver, tmp_path)


@pytest.mark.parametrize(
    "test",
    [
        test_copies.test_two_looks_are_one_array_until_the_next_pass,
        test_copies.test_an_update_goes_before_what_was_read,
    ],
)
def test_copies_of_blobs(test, solver):
    test(solver)


def test_the_mode_may_change_on_the_way(solver):
    solver.step(2)
    caffe.set_mode_cpu()
    solver.step(2)
    assert weight(solver)._layer.blobs[0].device.type == "cpu"
    caffe.set_mode_gpu()
    solver.step(2)
    assert weight(solver)._layer.blobs[0].device.type == "cuda"
    assert np.isfinite(weight(solver).data).all()
    assert weight(solver).diff.any()


def test_a_gpu_that_is_not_here():
    count = torch.cuda.device_count()
    with pytest.raises(UsageError, match="GPUs are here"):
        caffe.set_device(count)


def test_a_timer_waits_for_the_gpu():
    timer = caffe.Timer()
    x = torch.randn(4096, 4096, device="cuda")
    timer.start()
    for _ in range(20):
        x = x @ x
    timer.stop()
    assert timer.ms > 20 * 2 * 4096**3 / 1e15 * 1e3
