"""pycaffe with `set_mode_gpu()`: the recorded programs and cases, and what a script sees of blobs there."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffecompat.pycaffe as caffe
from caffecompat.errors import UsageError
from tests.layers.golden import cases, differences
from tests.pycaffe import test_scenarios
from tests.pycaffe.conftest import no_caffe_left_behind as no_caffe_left_behind
from tests.pycaffe.nets import LOSS_NET
from tests.pycaffe.test_recorded import NEAR_TIES, found
from tests.pycaffe.test_scenarios import record as record
from tests.reference.pycaffe_scenarios import SCENARIOS
from tests.solver.runs import RUNS, TRAINING, recorded

SOLVER = """
net: "{net}" snapshot_prefix: "{prefix}" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" max_iter: 10 random_seed: 3
"""


@pytest.fixture(autouse=True)
def mode():
    caffe.set_mode_gpu()
    caffe.set_device(0)
    yield
    caffe.set_mode_cpu()


@pytest.fixture
def solver(tmp_path):
    (tmp_path / "net.prototxt").write_text(LOSS_NET)
    path = tmp_path / "solver.prototxt"
    path.write_text(SOLVER.format(net=tmp_path / "net.prototxt", prefix=tmp_path / "run"))
    return caffe.SGDSolver(str(path))


@pytest.mark.parametrize("case", cases(), ids=str)
def test_layers(case, tmp_path, monkeypatch):
    monkeypatch.chdir(case.path.parent)
    caffe.set_dialect(case.dialect)
    try:
        assert differences(case, found(case, tmp_path)) == {}
    finally:
        caffe.set_dialect("ssd")


@pytest.mark.parametrize("name", SCENARIOS)
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


def weight(solver):
    return solver.net.params["ip"][0]


def test_what_is_written_counts_and_what_was_read_does_not(solver, tmp_path):
    solver.net.forward()
    assert weight(solver)._layer.blobs[0].device.type == "cuda"
    read = weight(solver).data.copy()
    solver.net.save(str(tmp_path / "before.caffemodel"))
    weight(solver).data[...] = 0
    solver.net.params["ip"][1].data[...] = [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(solver.net.forward(["scores"])["scores"], [[0, 1, 2, 3, 4, 5]] * 5)
    # Looked at, not written: what the file brings stays.
    assert not weight(solver).data.any()
    solver.net.copy_from(str(tmp_path / "before.caffemodel"))
    solver.net.forward()
    np.testing.assert_array_equal(weight(solver).data, read)


def test_two_looks_are_one_array_until_the_next_pass(solver):
    first, second = weight(solver).data, weight(solver).data
    first[0, 0] = 7
    assert second[0, 0] == 7
    solver.net.forward()
    assert weight(solver).data[0, 0] == 7


def test_a_snapshot_has_what_was_written(solver, tmp_path):
    solver.step(1)
    weight(solver).data[...] = 3
    solver.snapshot()
    weight(solver).data[...] = 4
    solver.restore(str(tmp_path / "run_iter_1.solverstate"))
    assert (weight(solver).data == 3).all()


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
