"""SSD trains and is evaluated as in the original: its recorded runs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.solver import Solver
from tests.support import REFERENCE

RUNS = REFERENCE / "ssd_training"


def solver_of(run, *, tests=False, **options):
    solver = Solver.from_prototxt(RUNS / run / "solver.prototxt", RUNS / run / "init.caffemodel", root=RUNS, **options)
    if not tests:
        solver.param.test_interval = 0
    return solver


def losses(solver, count):
    found = []
    for _ in range(count):
        solver.step()
        found.append(float(solver.outputs["mbox_loss"].detach()))
    return np.array(found)


@pytest.mark.slow
@pytest.mark.parametrize(("run", "count"), [("ssd_shapes", 6), ("ssd_shapes_sgd_iter2", 3)])
def test_the_first_losses(run, count):
    """The run is chaotic: two builds of the original part after a few iterations, too."""
    solver = solver_of(run)
    found, recorded = losses(solver, count), np.load(RUNS / run / "trace.npz")["loss"]
    solver.close()
    assert found[0] == pytest.approx(recorded[0], rel=1e-4 if run == "ssd_shapes" else 1e-2)
    np.testing.assert_allclose(found, recorded[:count], rtol=0.01)


@pytest.mark.slow
def test_the_evaluation_of_the_originals_weights():
    solver = solver_of("ssd_shapes", tests=True)
    solver.net.copy_from(RUNS / "ssd_shapes" / "final.caffemodel")
    (test,) = solver.test()
    solver.close()
    (score,) = test.scores
    assert score.name == "detection_eval"
    assert score.value == pytest.approx(0.875998, abs=1e-3)


def test_results_by_class_are_told():
    lines = []
    solver = solver_of("ssd_shapes", tests=True)
    solver.param.show_per_class_result = True
    solver.param.test_iter[0] = 1
    solver.say = lambda text, place: lines.append(text)
    solver.test()
    solver.close()
    assert [line.split(":")[0] for line in lines if line.startswith("class")] == ["class1", "class2", "class3"]


@pytest.mark.slow
def test_bfloat16_trains_as_float32():
    found = {}
    for precision in ("float32", "bf16"):
        solver = solver_of("ssd_shapes", precision=precision)
        found[precision] = losses(solver, 10)
        assert all(learnable.tensor.dtype == torch.float32 for learnable in solver.net.learnable)
        solver.close()
    assert (found["bf16"] != found["float32"]).any()
    np.testing.assert_allclose(found["bf16"][0], found["float32"][0], rtol=0.02)
    assert found["bf16"][-1] < found["bf16"][0] / 4
