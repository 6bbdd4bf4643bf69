"""What scripts see where blobs are not in the processor's memory: as on a GPU, of which this needs none."""

from __future__ import annotations

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat import blob
from tests.pycaffe import test_scenarios
from tests.pycaffe.nets import LOSS_NET
from tests.pycaffe.test_scenarios import record as record
from tests.reference.pycaffe_scenarios import SCENARIOS

# A copy is as it was when it was asked for, in the original too.
HERE = [name for name in SCENARIOS if name != "held_view"]
SOLVER = """
net: "{net}" snapshot_prefix: "{prefix}" base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" max_iter: 10 random_seed: 3
"""


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    """Every tensor is taken to be on a GPU."""
    monkeypatch.setattr(blob, "_is_here", lambda tensor: False)


@pytest.fixture
def solver(tmp_path):
    (tmp_path / "net.prototxt").write_text(LOSS_NET)
    path = tmp_path / "solver.prototxt"
    path.write_text(SOLVER.format(net=tmp_path / "net.prototxt", prefix=tmp_path / "run"))
    return caffe.SGDSolver(str(path))


@pytest.mark.parametrize("name", HERE)
def test_a_program_answers_as_under_the_original(record, name, tmp_path, monkeypatch):
    test_scenarios.test_a_program_answers_as_under_the_original(record, name, tmp_path, monkeypatch)


def weight(solver):
    return solver.net.params["ip"][0]


def test_what_is_written_counts_and_what_was_read_does_not(solver, tmp_path):
    solver.net.forward()
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


def test_an_update_goes_before_what_was_read(solver):
    before = weight(solver).data
    solver.step(1)
    after = weight(solver).data.copy()
    assert not np.array_equal(before, after)
    solver.net.forward()
    np.testing.assert_array_equal(weight(solver).data, after)


def test_a_snapshot_has_what_was_written(solver, tmp_path):
    solver.step(1)
    weight(solver).data[...] = 3
    solver.snapshot()
    weight(solver).data[...] = 4
    solver.restore(str(tmp_path / "run_iter_1.solverstate"))
    assert (weight(solver).data == 3).all()
