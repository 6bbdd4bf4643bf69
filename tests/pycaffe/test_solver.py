from __future__ import annotations

import gc

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.errors import CaffeCompatError
from tests.pycaffe.nets import LOSS_NET

SETTINGS = """
test_iter: 2 test_interval: 4 base_lr: 0.01 momentum: 0.9 weight_decay: 0.0005 lr_policy: "inv" gamma: 0.0001
power: 0.75 display: 5 max_iter: 10 snapshot_after_train: false random_seed: 3
"""
# One number that is learned, with a gradient that is always the same: 2 * 3.
ONE_WEIGHT = """
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: [1, 1] } data_filler { value: 3 } } }
layer { name: "w" type: "InnerProduct" bottom: "data" top: "w"
        inner_product_param { num_output: 1 bias_term: false weight_filler { value: 1 } } }
layer { name: "loss" type: "Reduction" bottom: "w" top: "loss" loss_weight: 2 }
"""


@pytest.fixture
def solver_file(write, tmp_path):
    """Write a solver and its net; its path."""

    def make(settings=SETTINGS, net=LOSS_NET):
        return write(f'net: "{write(net)}" snapshot_prefix: "{tmp_path}/model" {settings}', ".solver")

    return make


@pytest.fixture
def solver(solver_file):
    return caffe.SGDSolver(solver_file())


def test_solving(solver):
    assert solver.iter == 0
    before = solver.net.params["ip"][0].data.copy()
    solver.solve()
    assert solver.iter == 10
    assert not np.array_equal(solver.net.params["ip"][0].data, before)
    assert np.isfinite(solver.net.blobs["loss"].data)


def test_the_log_goes_to_stderr_and_may_be_silenced(solver_file, capsys):
    caffe.SGDSolver(solver_file()).step(6)
    out, err = capsys.readouterr()
    assert not out
    assert "Iteration 5, loss = " in err
    assert "Iteration 4, Testing net (#0)" in err
    caffe.init_log(1)
    caffe.SGDSolver(solver_file()).step(6)
    caffe.log("quiet")
    caffe.init_log(0)
    caffe.log("hello\n  forw")
    assert [line.split("] ")[-1] for line in capsys.readouterr().err.splitlines()] == ["hello", "  forw"]


def test_steps_add_up(solver_file):
    text = LOSS_NET.replace('data_filler { type: "gaussian" std: 1 }', "data_filler { value: 0.3 }")
    apart, together = (caffe.SGDSolver(solver_file(net=text)) for _ in range(2))
    for blob, twin in zip(parameters(together.net), parameters(apart.net), strict=True):
        twin.data[...] = blob.data
    together.step(4)
    for _ in range(4):
        apart.step(1)
    for blob, twin in zip(parameters(together.net), parameters(apart.net), strict=True):
        np.testing.assert_allclose(twin.data, blob.data, rtol=1e-6)


def parameters(net):
    return [blob for blobs in net.params.values() for blob in blobs]


def test_the_arithmetic_of_momentum(solver_file):
    solver = caffe.SGDSolver(solver_file('base_lr: 0.1 momentum: 0.5 lr_policy: "fixed" max_iter: 3', ONE_WEIGHT))
    weight, step = 1.0, 0.0
    for iteration in range(3):
        assert solver.lr == pytest.approx(0.1)
        solver.step(1)
        step = 0.5 * step + 0.1 * 6
        weight -= step
        assert solver.iter == iteration + 1
        assert solver.net.params["w"][0].data.item() == pytest.approx(weight, rel=1e-5)
        assert solver.net.params["w"][0].diff.item() == pytest.approx(step, rel=1e-5)
    assert solver.net.blobs["w"].diff.item() == 2


def test_an_update_by_hand(solver):
    weight = solver.net.layers[1].blobs[0]
    view = weight.data
    view[...] = 0
    weight.diff[...] = 1
    solver.apply_update()
    np.testing.assert_allclose(view, -0.01, atol=1e-7)
    # BVLC: the update itself counts; the SSD branch has no apply_update.
    assert solver.iter == 1


def test_passes_by_hand_and_updates(solver_file):
    """What step does, made of its parts."""
    settings = 'base_lr: 0.1 momentum: 0.5 lr_policy: "fixed" max_iter: 3'
    solver = caffe.SGDSolver(solver_file(settings, ONE_WEIGHT))
    for _ in range(2):
        solver.net.clear_param_diffs()
        solver.net.forward()
        solver.net.backward()
        solver.apply_update()
    assert solver.net.params["w"][0].data.item() == pytest.approx(1 - 0.6 - 0.9)


def test_snapshots_and_going_on(solver, solver_file, tmp_path):
    solver.snapshot()
    assert {path.name for path in tmp_path.glob("model*")} == {"model_iter_0.caffemodel", "model_iter_0.solverstate"}
    solver.step(3)
    solver.snapshot()
    other = caffe.SGDSolver(solver_file())
    other.restore(str(tmp_path / "model_iter_3.solverstate"))
    assert other.iter == 3
    for blob, twin in zip(parameters(solver.net), parameters(other.net), strict=True):
        assert np.array_equal(blob.data, twin.data)
    third = caffe.SGDSolver(solver_file())
    third.solve(str(tmp_path / "model_iter_3.solverstate"))
    assert third.iter == 10


def test_nets_outlive_their_solver(solver):
    nets = [solver.net, *solver.test_nets]
    assert len(nets) == 2
    solver.step(1)
    del solver
    gc.collect()
    for net in nets:
        assert np.isfinite(net.forward()["loss"])
        for blob in (*net.blobs.values(), *parameters(net)):
            assert np.isfinite(blob.data.sum() + blob.diff.sum())


def test_test_nets_see_the_trained_parameters(solver):
    solver.step(5)
    test = solver.test_nets[0]
    solver.net.params["ip"][1].data[...] = 4
    assert np.all(test.params["ip"][1].data == 4)


def test_callbacks_come_around_the_passes(solver_file):
    solver = caffe.SGDSolver(solver_file(SETTINGS + "iter_size: 2"))
    calls = []
    solver.net.before_forward(lambda index: calls.append("forward") if index == 0 else None)
    solver.net.after_backward(lambda index: calls.append("backward") if index == 0 else None)
    solver.add_callback(lambda: calls.append("start"), lambda: calls.append("gradients"))
    solver.step(2)
    assert calls == ["start", "forward", "backward", "forward", "backward", "gradients"] * 2


def test_a_callback_may_change_the_gradients(solver_file):
    solver = caffe.SGDSolver(solver_file('base_lr: 0.1 lr_policy: "fixed" max_iter: 3', ONE_WEIGHT))
    solver.add_callback(lambda: None, lambda: solver.net.params["w"][0].diff.__imul__(2))
    solver.step(1)
    assert solver.net.params["w"][0].data.item() == pytest.approx(1 - 1.2)


def test_weights_are_shared_with_another_net(solver, write):
    net = caffe.Net(write(LOSS_NET), caffe.TEST)
    solver.share_weights(net)
    solver.step(1)
    assert np.array_equal(net.params["ip"][0].data, solver.net.params["ip"][0].data)


@pytest.mark.parametrize("kind", ["SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"])
def test_every_kind_of_solver(solver_file, kind):
    momentum = "" if kind in ("AdaGrad", "RMSProp") else "momentum: 0.9"
    settings = f'base_lr: 0.1 lr_policy: "fixed" max_iter: 3 rms_decay: 0.9 {momentum}'
    own = getattr(caffe, f"{kind}Solver")(solver_file(settings, ONE_WEIGHT))
    found = caffe.get_solver(solver_file(settings + f' type: "{kind}"', ONE_WEIGHT))
    assert type(found) is type(own)
    for solver in (own, found):
        solver.solve()
        assert solver.net.params["w"][0].data.item() < 1
    assert own.net.params["w"][0].data.item() == found.net.params["w"][0].data.item()


def test_the_rate_may_be_changed_on_the_way(solver_file):
    solver = caffe.SGDSolver(solver_file('base_lr: 0.1 lr_policy: "fixed" max_iter: 3', ONE_WEIGHT))
    solver.param.base_lr = 0.01
    solver.step(1)
    assert solver.net.params["w"][0].data.item() == pytest.approx(1 - 0.06)
    assert solver.param.max_iter == 3


def test_a_solver_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CaffeCompatError, match=r"nowhere\.prototxt"):
        caffe.SGDSolver(str(tmp_path / "nowhere.prototxt"))


def test_a_script_for_several_gpus_trains_on_one(solver_file):
    solver = caffe.SGDSolver(solver_file())
    calls = []
    nccl = caffe.NCCL(solver, caffe.NCCL.new_uid())
    nccl.bcast()
    solver.add_callback(nccl)
    solver.net.after_backward(nccl)
    solver.add_callback(lambda: "", lambda: calls.append(solver.iter))
    solver.step(2)
    assert calls == [0, 1]


def test_solvers_of_several_scripts_do_not_train_together(solver):
    caffe.set_solver_count(2)
    try:
        with pytest.raises(CaffeCompatError, match="expected one solver, got 2") as caught:
            caffe.NCCL(solver, caffe.NCCL.new_uid())
    finally:
        caffe.set_solver_count(1)
    assert "caffecompat train --gpu 0,1" in caught.value.hint
