"""Published solvers and nets train as they are.

Where a file is changed, `published` says how: smaller batches, and what a text leaves to its user.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from caffecompat.errors import CaffeCompatWarning
from tests.solver.published import DILATION, cifar10_full, dilation, imagenet, lenet, solver_in, start_front_end

pytestmark = pytest.mark.slow


def losses_of(solver, steps):
    """The loss of each step; the smoothing of `average_loss` begins anew with each call."""
    return [solver.step(1) for _ in range(steps)]


def test_lenet_reads_digits_that_it_was_not_shown(tmp_path, monkeypatch):
    from caffecompat import Solver

    path = lenet(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.warns(CaffeCompatWarning, match="solver_mode is GPU"):
        solver = Solver.from_prototxt(path)
    first = solver.test()[0].scores
    solver.step(1100)
    last = {score.name: score.value for score in solver.test()[0].scores}
    solver.close()
    assert {score.name for score in first} == {"accuracy", "loss"}
    assert last["accuracy"] > 0.97
    assert last["loss"] < 0.1


def test_cifar10_full_learns(tmp_path):
    solver = solver_in(tmp_path, cifar10_full(tmp_path), test_initialization=False)
    losses = losses_of(solver, 160)
    solver.close()
    # It starts from weights of 1e-4, at the loss of a guess.
    assert losses[0] == pytest.approx(math.log(10), abs=1e-3)
    assert np.mean(losses[-20:]) < 2.1


@pytest.mark.parametrize(("net", "batch"), [("vgg16", 2), ("alexnet", 6)])
def test_image_nets_take_steps(tmp_path, net, batch):
    solver = solver_in(tmp_path, imagenet(tmp_path, net, batch), test_initialization=False)
    before = [item.tensor.detach().clone() for item in solver.net.learnable]
    losses = losses_of(solver, 2)
    solver.close()
    assert all(abs(loss - math.log(1000)) < 1 for loss in losses)
    for item, old in zip(solver.net.learnable, before, strict=True):
        assert item.tensor.isfinite().all()
        assert not item.tensor.equal(old)


@pytest.mark.parametrize("net", DILATION)
def test_dilation_nets_learn(tmp_path, net):
    # A picture of 48 pixels fills, with its margins, the crop: so every step sees all of it, mirrored or not.
    path = dilation(tmp_path, net, batch=1, count=1, side=528 if net == "context" else 48, scores=6)
    solver = solver_in(tmp_path, path, test_initialization=False)
    if net != "context":
        start_front_end(solver)
    losses = losses_of(solver, 3)
    solver.close()
    assert np.isfinite(losses).all()
    assert losses[2] < losses[0]
