"""Snapshots: what is written, in both formats; what a state sets, and which do not fit."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import torch

from caffecompat.formats import read_solverstate, read_weights
from caffecompat.schema import caffe_pb2
from tests.solver.runs import TRAINING, Recorder, parameters, solver_of
from tests.solver.tiny import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

HDF5 = caffe_pb2.SolverParameter.HDF5


@pytest.mark.parametrize("run", ["sgd_poly_bn", "adam", "sgd_plateau"])
def test_from_binary_to_hdf5_and_back(run, tmp_path):
    (tmp_path / "digits").symlink_to(TRAINING / "digits")
    first, _ = solver_of(run, "h5", start=False, root=tmp_path, fields={"snapshot_format": HDF5})
    first.restore(TRAINING / run / "final.solverstate")
    path = first.snapshot()
    first.close()
    assert path == tmp_path / "h5_iter_60.solverstate.h5"
    assert read_solverstate(path).learned_net == "h5_iter_60.caffemodel.h5"
    assert read_weights(tmp_path / "h5_iter_60.caffemodel.h5").hdf5
    second, _ = solver_of(run, "final", start=False, root=tmp_path)
    second.restore(path)
    second.snapshot()
    second.close()
    for kind in ("caffemodel", "solverstate"):
        written = tmp_path / f"final_iter_60.{kind}"
        assert written.read_bytes() == (TRAINING / run / f"final.{kind}").read_bytes()


def test_what_a_state_sets():
    solver, _ = solver_of("sgd_plateau", "x", start=False)
    solver.restore(TRAINING / "sgd_plateau" / "final.solverstate")
    solver.close()
    state = caffe_pb2.SolverState.FromString((TRAINING / "sgd_plateau" / "final.solverstate").read_bytes())
    weights = caffe_pb2.NetParameter.FromString((TRAINING / "sgd_plateau" / "final.caffemodel").read_bytes())
    rate = solver.rate
    assert (solver.iteration, rate.current_step, rate.iter_last_event) == (60, 2, 55)
    assert rate.minimum_loss == state.minimum_loss
    for ours, theirs in zip(solver.update.history(), state.history, strict=True):
        np.testing.assert_array_equal(ours.detach().numpy().ravel(), np.array(theirs.data, np.float32))
    found = parameters(solver)
    for layer in weights.layer:
        for index, blob in enumerate(layer.blobs):
            np.testing.assert_array_equal(found[f"{layer.name}/{index}"].ravel(), np.array(blob.data, np.float32))


def test_weights_in_another_memory_layout_are_written_the_same(tmp_path):
    solver, _ = solver_of("sgd_step", tmp_path / "final", start=False)
    solver.restore(TRAINING / "sgd_step" / "final.solverstate")
    solver.net.to(memory_format=torch.channels_last)
    for slot in solver.update.state.values():
        for name, value in slot.items():
            if value.dim() == 4:
                slot[name] = value.contiguous(memory_format=torch.channels_last)
    solver.snapshot()
    solver.close()
    written = (tmp_path / "final_iter_60.caffemodel").read_bytes()
    assert written == (TRAINING / "sgd_step" / "final.caffemodel").read_bytes()
    ours = read_solverstate(tmp_path / "final_iter_60.solverstate")
    theirs = read_solverstate(TRAINING / "sgd_step" / "final.solverstate")
    for one, two in zip(ours.history, theirs.history, strict=True):
        np.testing.assert_array_equal(one.array, two.array)


def test_states_before_2015_have_shapes_of_four_sizes_and_fewer_fields(tmp_path):
    state = caffe_pb2.SolverState.FromString((TRAINING / "nesterov" / "final.solverstate").read_bytes())
    for blob in state.history:
        sizes = [1] * (4 - len(blob.shape.dim)) + list(blob.shape.dim)
        blob.ClearField("shape")
        blob.num, blob.channels, blob.height, blob.width = sizes
    for name in ("current_step", "minimum_loss", "iter_last_event"):
        state.ClearField(name)
    path = tmp_path / "old.solverstate"
    path.write_bytes(state.SerializeToString())
    shutil.copy(TRAINING / "nesterov" / "final.caffemodel", tmp_path / "final_iter_60.caffemodel")
    solver, _ = solver_of("nesterov", "x", start=False)
    solver.restore(path)
    solver.close()
    assert (solver.iteration, solver.rate.current_step) == (60, 0)
    np.testing.assert_array_equal(solver.update.history()[1].numpy(), np.array(state.history[1].data, np.float32))


def test_snapshots_come_when_the_solver_says(tmp_path):
    recorder = Recorder()
    solver = tiny(tmp_path / "net", "snapshot: 2", listeners=[recorder])
    solver.solve()
    kinds = ("caffemodel", "solverstate")
    assert sorted(os.listdir(tmp_path)) == [f"net_iter_{n}.{kind}" for n in (2, 4, 5) for kind in kinds]
    name = f"{tmp_path}/net_iter_2"
    assert (f"Snapshotting to binary proto file {name}.caffemodel", "solver.cpp:596") in recorder.lines
    line = (f"Snapshotting solver state to binary proto file {name}.solverstate", "sgd_solver.cpp:308")
    assert line in recorder.lines
    hdf5 = Recorder()
    tiny(tmp_path / "h5", "snapshot_format: HDF5", listeners=[hdf5]).snapshot()
    assert [text for text, _ in hdf5.lines if "Snapshotting" in text] == [
        f"Snapshotting to HDF5 file {tmp_path}/h5_iter_0.caffemodel.h5",
        f"Snapshotting solver state to HDF5 file {tmp_path}/h5_iter_0.solverstate.h5",
    ]


def test_the_message_has_what_caffe_adds(tmp_path):
    """Net::Init: Split layers, the phase; LossLayer::LayerSetUp: the weight. (Seen in the recorded files, too.)"""
    tiny(tmp_path / "net").snapshot()
    net = caffe_pb2.NetParameter.FromString((tmp_path / "net_iter_0.caffemodel").read_bytes())
    assert [layer.name for layer in net.layer] == ["data", "a", "a_a_0_split", "b", "loss"]
    assert [list(layer.bottom) for layer in net.layer[3:]] == [["a_a_0_split_0"], ["b", "a_a_0_split_1"]]
    assert {layer.phase for layer in net.layer} == {caffe_pb2.TRAIN}
    assert list(net.layer[4].loss_weight) == [1]
    assert [len(layer.blobs) for layer in net.layer] == [0, 2, 0, 2, 0]
    assert net.layer[1].blobs[0] == net.layer[3].blobs[0]
    assert not net.HasField("state")


# --- diffs


@pytest.mark.parametrize("hdf5", [False, True])
def test_diffs_are_what_the_update_took(hdf5, tmp_path):
    """SGD: the diff after an update is the new history (sgd_solver.cpp: caffe_copy(history, diff))."""
    text = f"snapshot_diff: true momentum: 0.9 weight_decay: 0.01 {'snapshot_format: HDF5' if hdf5 else ''}"
    solver = tiny(tmp_path / "net", text)
    solver.step(3)
    solver.snapshot()
    history = [tensor.numpy() for tensor in solver.update.history()]
    if hdf5:
        import h5py

        with h5py.File(tmp_path / "net_iter_3.caffemodel.h5") as file:
            diffs = [file[f"diff/{name}"][()] for name in ("a/0", "a/1", "b/1", "b/0")]
    else:
        net = caffe_pb2.NetParameter.FromString((tmp_path / "net_iter_3.caffemodel").read_bytes())
        a, b = net.layer[1].blobs, net.layer[3].blobs
        diffs = [np.reshape(np.array(blob.diff), blob.shape.dim) for blob in (a[0], a[1], b[1], b[0])]
    for diff, expected in zip(diffs, [*history, history[0]], strict=True):
        assert np.abs(expected).max() > 1e-3
        np.testing.assert_allclose(diff, expected, atol=1e-6)


def test_diffs_are_zero_before_any_update(tmp_path):
    tiny(tmp_path / "net", "snapshot_diff: true").snapshot()
    net = caffe_pb2.NetParameter.FromString((tmp_path / "net_iter_0.caffemodel").read_bytes())
    assert list(net.layer[1].blobs[1].diff) == [0, 0, 0]
