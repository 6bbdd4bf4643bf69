"""Solvers on a GPU: the original's recorded runs, snapshots that go on elsewhere, what is random."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.errors import UsageError
from caffecompat.formats import read_solverstate
from caffecompat.solver.faults import NotFiniteError
from tests.solver import test_ssd_training as ssd
from tests.solver.runs import RUNS, TRAINING, parameters, recorded, solver_of
from tests.solver.test_exact_resume import pictures as pictures
from tests.solver.test_exact_resume import random_solver
from tests.solver.test_rep_optimizer import SCALES
from tests.solver.test_rep_optimizer import solver_of as rep_optimizer
from tests.solver.test_training import NEAR_TIES
from tests.solver.tiny import tiny


def whole(run, prefix, device="cuda", **fields):
    solver, recorder = solver_of(run, prefix, device=device, fields=fields)
    solver.solve()
    solver.close()
    return solver, recorder


@pytest.mark.parametrize("run", RUNS)
def test_a_run_as_recorded(run, tmp_path):
    """As tests/solver/test_training.py has it; of runs with near ties only what comes before."""
    solver, recorder = whole(run, tmp_path / run)
    trace = recorded(run)
    tie = NEAR_TIES.get(run, 60)
    assert all(item.tensor.device.type == "cuda" for item in solver.net.learnable)
    np.testing.assert_allclose(recorder.losses[:tie], trace["loss"][:tie], atol=1e-4, rtol=0)
    if run in NEAR_TIES:
        return
    for name in ("loss", "accuracy"):
        np.testing.assert_allclose([test[name] for test in recorder.tests], trace[f"test/{name}"], atol=1e-3, rtol=0)
    for name, value in parameters(solver).items():
        np.testing.assert_allclose(value, trace[f"param/{name}"], atol=1e-4, rtol=1e-5, err_msg=name)
    state = read_solverstate(tmp_path / f"{run}_iter_60.solverstate")
    for ours, theirs in zip(state.history, read_solverstate(TRAINING / run / "final.solverstate").history, strict=True):
        np.testing.assert_allclose(ours.array, theirs.array, atol=1e-4, rtol=0)


@pytest.mark.parametrize("run", ["adam", "sgd_multistep_iter2", "sgd_poly_bn"])
def test_snapshots_go_on_on_either(run, tmp_path):
    whole(run, tmp_path / run)
    losses = {}
    for device in ("cuda", "cpu"):
        fields = {"max_iter": 80, "test_interval": 1000, "snapshot_after_train": False}
        solver, recorder = solver_of(run, tmp_path / "x", start=False, fields=fields, device=device)
        solver.solve(resume=tmp_path / f"{run}_iter_60.solverstate")
        solver.close()
        losses[device] = recorder.losses
    assert len(losses["cuda"]) == 20
    np.testing.assert_allclose(losses["cuda"], losses["cpu"], atol=1e-4, rtol=0)


@pytest.mark.parametrize("run", RUNS)
def test_a_snapshot_of_the_originals_snapshot_is_it_byte_for_byte(run, tmp_path):
    (tmp_path / "digits").symlink_to(TRAINING / "digits")
    solver, _ = solver_of(run, "final", start=False, root=tmp_path, device="cuda")
    solver.restore(TRAINING / run / "final.solverstate")
    solver.snapshot()
    solver.close()
    for kind in ("caffemodel", "solverstate"):
        assert (tmp_path / f"final_iter_60.{kind}").read_bytes() == (TRAINING / run / f"final.{kind}").read_bytes()


def test_an_exact_resume_equals_an_uninterrupted_run(pictures):
    """Dropout draws on the GPU, the data layers on the CPU."""
    solver, uninterrupted = random_solver(pictures, exact_resume=True, workers=2, device="cuda")
    solver.solve()
    solver.close()
    resumed, recorder = random_solver(pictures, exact_resume=True, workers=0, device="cuda")
    torch.manual_seed(99)
    resumed.solve(resume=pictures / "run_iter_5.solverstate")
    resumed.close()
    np.testing.assert_allclose(recorder.losses, uninterrupted.losses[5:], rtol=1e-6)
    assert len(set(uninterrupted.losses)) == 12


def test_a_seed_fills_and_reads_as_on_the_cpu(pictures):
    found = []
    for device in ("cuda", "cpu"):
        solver, _ = random_solver(pictures, device=device)
        found.append((parameters(solver), [top.cpu() for top in solver.net.layers[0]()]))
        solver.close()
    (ours, read), (theirs, expected) = found
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value)
    assert all(top.equal(other) for top, other in zip(read, expected, strict=True))


@pytest.mark.parametrize(("run", "count"), [("ssd_shapes", 4), ("ssd_shapes_sgd_iter2", 3)])
def test_the_first_losses_of_an_ssd(run, count):
    """The run is chaotic: see tests/solver/test_ssd_training.py. Here it parts two iterations earlier."""
    solver = ssd.solver_of(run, device="cuda")
    found, expected = ssd.losses(solver, count), np.load(ssd.RUNS / run / "trace.npz")["loss"]
    solver.close()
    assert found[0] == pytest.approx(expected[0], rel=1e-4 if run == "ssd_shapes" else 1e-2)
    np.testing.assert_allclose(found, expected[:count], rtol=0.01)


def test_the_evaluation_of_an_ssd():
    solver = ssd.solver_of("ssd_shapes", tests=True, device="cuda")
    solver.net.copy_from(ssd.RUNS / "ssd_shapes" / "final.caffemodel")
    (test,) = solver.test()
    solver.close()
    assert test.scores[0].value == pytest.approx(0.875998, abs=1e-3)


def test_an_ssd_in_bfloat16():
    found = {}
    for precision in ("float32", "bf16"):
        solver = ssd.solver_of("ssd_shapes", precision=precision, device="cuda")
        found[precision] = ssd.losses(solver, 10)
        layouts = {layer.memory_format for layer in solver.net.layers if layer.spec.type == "Convolution"}
        assert (torch.channels_last in layouts) == (precision == "bf16")
        assert all(item.tensor.is_contiguous() for item in solver.net.learnable)
        assert all(item.tensor.dtype == torch.float32 for item in solver.net.learnable)
        solver.close()
    assert (found["bf16"] != found["float32"]).any()
    np.testing.assert_allclose(found["bf16"][0], found["float32"][0], rtol=0.02)
    assert found["bf16"][-1] < found["bf16"][0] / 4


@pytest.mark.parametrize("rule", ["SGD", "Nesterov"])
def test_rep_optimizer(rule, tmp_path):
    found = []
    for device in ("cuda", "cpu"):
        solver = rep_optimizer(tmp_path, f'type: "{rule}" momentum: 0.9', scales=SCALES, device=device)
        # What the net reads is drawn anew on each device.
        torch.manual_seed(1)
        blobs = {
            name: 0.02 * torch.randn(solver.net.blob_shapes[solver.net.graph.last[name]]) for name in ("data", "target")
        }
        solver.group.run = lambda net, blobs=blobs, device=device: fed(net, blobs, device)
        solver.step(4)
        found.append(parameters(solver))
    for name, value in found[1].items():
        np.testing.assert_allclose(found[0][name], value, rtol=1e-4, atol=1e-6)


def fed(net, blobs, device):
    outputs = net(**{name: value.to(device) for name, value in blobs.items()})
    return net.loss(outputs), outputs


def test_debug_info_tells_the_same(tmp_path):
    lines = {}
    for device in ("cuda", "cpu"):
        solver, recorder = solver_of("sgd_step", tmp_path / "x", fields={"debug_info": True}, device=device)
        solver.param.display, solver.param.test_interval = 1, 0
        solver.step(1)
        solver.close()
        lines[device] = [text.split() for text, _ in recorder.lines if "data:" in text or "diff:" in text]
    assert len(lines["cuda"]) > 20
    for ours, theirs in zip(lines["cuda"], lines["cpu"], strict=True):
        assert ours[:-1] == theirs[:-1]
        assert float(ours[-1]) == pytest.approx(float(theirs[-1]), rel=1e-3, abs=1e-7)


def test_a_loss_that_is_not_finite_is_explained(tmp_path):
    net = """
    layer { name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param {
      shape { dim: 2 dim: 3 } shape { dim: 2 dim: 1 } data_filler { value: 1 } data_filler { value: 1 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 1
      weight_filler { value: -1 } } }
    layer { name: "log" type: "Log" bottom: "ip" top: "log" }
    layer { name: "loss" type: "EuclideanLoss" bottom: "log" bottom: "y" top: "loss" }
    """
    messages = []
    for device in ("cuda", "cpu"):
        with pytest.raises(NotFiniteError) as caught:
            tiny(tmp_path / "x", net=net, device=device).step(2)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]


def test_where_it_runs(tmp_path):
    count = torch.cuda.device_count()
    solver = tiny(tmp_path / "x", "solver_mode: GPU", device=None)
    assert solver.device == torch.device("cuda", 0)
    solver.step(2)
    assert solver.iteration == 2
    for settings in ({"device": f"cuda:{count}"}, {"text": f"device_id: {count}", "device": None}):
        with pytest.raises(UsageError, match="GPUs are here"):
            tiny(tmp_path / "x", **settings)
