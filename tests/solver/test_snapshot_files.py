"""Where snapshots go, where their weights are looked for, which is the newest; failures in the middle."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError, FormatError, UsageError, WeightsError
from caffecompat.formats import atomic, read_solverstate, write_solverstate
from caffecompat.formats.weights import WeightBlob
from caffecompat.schema import caffe_pb2
from caffecompat.solver import snapshots as snapshots_module
from caffecompat.solver.snapshots import latest
from tests.solver.tiny import TINY, tiny

# --- the weights of a state


@pytest.fixture
def snapshot(tmp_path):
    """A snapshot of a tiny net at runs/net_iter_2.*, written under tmp_path as root."""
    (tmp_path / "runs").mkdir()
    solver = tiny("runs/net", root=tmp_path)
    solver.step(2)
    return solver.snapshot()


def resumed(path, root):
    solver = tiny("runs/net", root=root)
    solver.restore(path)
    return solver


def bias(solver):
    return solver.net.layer("a").blobs[1].detach().numpy()


def marked(path, value, target):
    """A copy of a weight file with another bias in layer a."""
    net = caffe_pb2.NetParameter.FromString(path.read_bytes())
    net.layer[1].blobs[1].data[:] = [value] * 3
    target.write_bytes(net.SerializeToString())


def test_weights_are_found_at_their_path_then_beside_the_state_then_under_its_name(snapshot, tmp_path):
    weights = snapshot.with_suffix(".caffemodel")
    moved = tmp_path / "elsewhere" / "best.solverstate"
    moved.parent.mkdir()
    shutil.copy(snapshot, moved)
    marked(weights, 3, moved.with_name("best.caffemodel"))
    marked(weights, 2, moved.with_name("net_iter_2.caffemodel"))
    marked(weights, 1, weights)
    for value in (1, 2, 3):
        assert bias(resumed(moved, tmp_path)).tolist() == [value] * 3
        (weights if value == 1 else moved.with_name("net_iter_2.caffemodel")).unlink(missing_ok=True)
    moved.with_name("best.caffemodel").rename(moved.with_name("best.caffemodel.h5"))
    # By content, not by name.
    assert bias(resumed(moved, tmp_path)).tolist() == [3] * 3


def test_weights_at_none_of_these_places(snapshot, tmp_path):
    moved = tmp_path / "elsewhere" / "best.solverstate"
    moved.parent.mkdir()
    snapshot.rename(moved)
    snapshot.with_suffix(".caffemodel").unlink()
    with pytest.raises(FormatError) as caught:
        resumed(moved, tmp_path)
    error = caught.value
    assert error.file == str(moved)
    assert "'runs/net_iter_2.caffemodel'" in error.message
    for folder, name in (("runs", "net_iter_2"), ("elsewhere", "net_iter_2"), ("elsewhere", "best")):
        assert f"{tmp_path}/{folder}/{name}.caffemodel" in error.hint
    assert f"{tmp_path}/elsewhere/best.caffemodel.h5" in error.hint


@pytest.mark.parametrize("name", ["", "a\0b", "C:\\runs\\net_iter_2.caffemodel", "/" + "x" * 5000])
def test_names_of_weights_that_are_no_path_here(name, snapshot, tmp_path):
    """A state from Windows, one without a name, a broken one."""
    path = snapshot.with_name("net_iter_2.solverstate")
    write_solverstate(path, replace(read_solverstate(path), learned_net=name))
    assert resumed(path, tmp_path).iteration == 2


def test_weights_that_are_something_else(snapshot, tmp_path):
    snapshot.with_suffix(".caffemodel").write_bytes(b"<html></html>")
    with pytest.raises(FormatError, match="expected weights, got a web page"):
        resumed(snapshot, tmp_path)


# --- states that do not fit


def test_a_state_of_another_solver_type(snapshot, tmp_path):
    solver = tiny("runs/net", 'type: "Adam" momentum: 0.9', root=tmp_path)
    with pytest.raises(WeightsError) as caught:
        solver.restore(snapshot)
    assert caught.value.file == str(snapshot)
    assert caught.value.message == "expected 6 arrays of history, got 3"
    assert "another type of solver" in caught.value.hint
    assert solver.iteration == 0


def test_a_state_of_another_net(snapshot, tmp_path):
    other = tiny("runs/net", root=tmp_path, net=TINY.replace("dim: 3", "dim: 4").replace('param { name: "w" }', ""))
    with pytest.raises(WeightsError, match="expected 4 arrays of history, got 3"):
        other.restore(snapshot)
    state = read_solverstate(snapshot)
    history = (WeightBlob(np.zeros((3, 4), np.float32)), *state.history[1:])
    write_solverstate(snapshot, replace(state, history=history))
    with pytest.raises(WeightsError, match="another net"):
        resumed(snapshot, tmp_path)


def test_something_else_than_a_state(snapshot, tmp_path):
    with pytest.raises(FormatError, match="expected a solver state, got weights"):
        resumed(snapshot.with_suffix(".caffemodel"), tmp_path)
    with pytest.raises(FormatError, match="No such file"):
        resumed(tmp_path / "none.solverstate", tmp_path)


# --- failures in the middle


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_a_failure_in_the_middle_leaves_the_older_snapshot_whole(failing, tmp_path, monkeypatch):
    """The weights, the sidecar and the state, each in turn, cannot be put in their place."""
    solver = tiny(tmp_path / "net", exact_resume=True)
    solver.step(1)
    older = solver.snapshot()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    solver.step(1)
    done = []

    def replace_file(source, target):
        if len(done) == failing:
            raise OSError(28, "No space left on device")
        done.append(target)
        os.rename(source, target)

    monkeypatch.setattr(atomic.os, "replace", replace_file)
    with pytest.raises(CaffeCompatError, match="No space left on device"):
        solver.snapshot()
    monkeypatch.undo()
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {name: after[name] for name in before} == before
    assert not [name for name in after if name.endswith(".tmp")]
    assert "net_iter_2.solverstate" not in after
    assert latest(tmp_path / "net") == older
    assert tiny(tmp_path / "net", exact_resume=True).snapshots.restore(solver, older)


def test_the_state_of_another_run_does_not_stay_beside_new_weights(tmp_path, monkeypatch):
    old = tiny(tmp_path / "net").snapshot()
    solver = tiny(tmp_path / "net", "iter_size: 2")

    def no_state(*_):
        raise CaffeCompatError("killed here")

    monkeypatch.setattr(snapshots_module, "write_solverstate", no_state)
    with pytest.raises(CaffeCompatError, match="killed here"):
        solver.snapshot()
    assert not old.exists()
    assert latest(tmp_path / "net") is None


def test_the_own_state_stays_until_the_new_one_is_there(tmp_path, monkeypatch):
    solver = tiny(tmp_path / "net")
    path = solver.snapshot()
    again = tiny(tmp_path / "net")
    again.restore(path)
    monkeypatch.setattr(snapshots_module, "write_solverstate", lambda *_: None)
    for one in (solver, again):
        assert one.snapshot() == path
        assert latest(tmp_path / "net") == path


def test_what_killed_runs_have_left_is_taken_away(tmp_path):
    left = [f".net_iter_{n}.{kind}.0123456789abcdef.tmp" for n in (3, 40) for kind in ("caffemodel", "solverstate.h5")]
    others = [".net2_iter_3.caffemodel.0123456789abcdef.tmp", ".net_iter_3.caffemodel.tmp", "net_iter_3.caffemodel"]
    for name in left + others:
        (tmp_path / name).write_bytes(b"part")
    (tmp_path / "start").mkdir()
    solver = tiny(tmp_path / "net")
    solver.restore(tiny(tmp_path / "start" / "net").snapshot())
    assert len(os.listdir(tmp_path)) == 8
    solver.snapshot()
    written = ["net_iter_0.caffemodel", "net_iter_0.solverstate", "start"]
    assert sorted(os.listdir(tmp_path)) == sorted(others + written)


# --- prefixes


def test_snapshot_without_a_prefix(tmp_path):
    with pytest.raises(UsageError) as caught:
        tiny(None, "\nsnapshot: 5", file=tmp_path / "my.prototxt")
    assert caught.value.message == "snapshot is given and snapshot_prefix is not"
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "my.prototxt"), TINY.count("\n") + 2)
    assert "snapshot_prefix" in caught.value.hint
    with pytest.raises(UsageError, match="snapshot_prefix is not"):
        tiny(None, "snapshot: 5", dialect="bvlc")
    with pytest.raises(UsageError, match="states no snapshot_prefix"):
        tiny(None).snapshot()


def test_a_missing_prefix_is_the_solvers_own_name(tmp_path):
    (tmp_path / "sub").mkdir()
    file = tmp_path / "sub" / "my.v2.prototxt"
    expected = tmp_path / "sub" / "my.v2_iter_0.solverstate"
    assert tiny(None, "snapshot: 5", file=file, dialect="bvlc").snapshot() == expected
    expected.unlink()
    # Whatever the root.
    assert tiny(None, file=file, root=tmp_path).snapshot() == expected
    assert read_solverstate(expected).learned_net == str(tmp_path / "sub" / "my.v2_iter_0.caffemodel")


def test_a_prefix_that_is_a_folder(tmp_path):
    (tmp_path / "snaps").mkdir()
    written = {}
    for dialect in ("ssd", "bvlc"):
        for prefix in ("snaps", "snaps/"):
            path = tiny(prefix, "snapshot: 5", file="my.prototxt", root=tmp_path, dialect=dialect).snapshot()
            written[dialect, prefix] = str(path.relative_to(tmp_path))
    assert written == {
        ("ssd", "snaps"): "snaps_iter_0.solverstate",
        ("ssd", "snaps/"): "snaps/_iter_0.solverstate",
        ("bvlc", "snaps"): "snaps/my_iter_0.solverstate",
        ("bvlc", "snaps/"): "snaps/my_iter_0.solverstate",
    }


def test_a_folder_that_is_not_there_or_takes_no_files(tmp_path):
    (tmp_path / "file").write_text("")
    for folder, reason in (("none", "No such file"), ("file", "Not a directory")):
        with pytest.raises(CaffeCompatError) as caught:
            tiny(tmp_path / folder / "net", "snapshot: 5", file="my.prototxt")
        assert caught.value.message.startswith("snapshots cannot be written to snapshot_prefix")
        assert reason in caught.value.message
        assert caught.value.file == "my.prototxt"
        assert str(tmp_path / folder) in caught.value.hint
    # Without `snapshot`, the original finds it out when the training is over.
    solver = tiny(tmp_path / "none" / "net")
    with pytest.raises(CaffeCompatError, match="cannot be written"):
        solver.snapshot()
    with pytest.raises(CaffeCompatError, match="cannot be written"):
        solver.solve()
    assert solver.iteration == 0
    tiny(tmp_path / "none" / "net", "snapshot_after_train: false").solve()
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_prefixes_start_in_the_root(tmp_path, monkeypatch):
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    assert tiny("net").snapshot().resolve() == other / "net_iter_0.solverstate"
    assert tiny("net", root=tmp_path).snapshot() == tmp_path / "net_iter_0.solverstate"


# --- the newest


def test_the_newest_whole_snapshot(tmp_path):
    prefix = tmp_path / "net[1].v2"
    assert latest(prefix) is None
    assert latest(tmp_path / "none" / "net") is None
    solver = tiny(prefix)
    paths = {}
    for iteration in (9, 10, 99, 100, 101, 102):
        solver.iteration = iteration
        paths[iteration] = solver.snapshot()
    solver.iteration = 5000
    shutil.copy(solver.snapshot(), tmp_path / "net1.v2_iter_9000.solverstate")
    paths[5000] = tmp_path / "net[1].v2_iter_5000.solverstate"
    # Neither of another prefix, nor of no number, nor a folder.
    shutil.copy(paths[10], tmp_path / "net[1].v2_iter_x.solverstate")
    shutil.copy(paths[10], tmp_path / "net[1].v2_iter_6000.solverstate.bak")
    (tmp_path / "net[1].v2_iter_7000.solverstate").mkdir()
    assert latest(prefix) == paths[5000]
    paths[5000].write_bytes(b"")
    assert latest(prefix) == paths[102]
    paths[102].with_suffix(".caffemodel").unlink()
    assert latest(prefix) == paths[101]
    weights = paths[101].with_suffix(".caffemodel")
    weights.write_bytes(weights.read_bytes()[:-3])
    assert latest(prefix) == paths[100]
    paths[100].unlink()
    assert latest(prefix) == paths[99]
    assert latest("net[1].v2", tmp_path) == paths[99]


def test_the_newest_may_be_hdf5(tmp_path):
    solver = tiny(tmp_path / "net", "snapshot_format: HDF5")
    solver.iteration = 7
    path = solver.snapshot()
    tiny(tmp_path / "net").snapshot()
    assert latest(tmp_path / "net") == path
