"""Solver states: what the original wrote is read and written again byte for byte; HDF5 as its own files are."""

from __future__ import annotations

import gc
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.errors import FormatError
from caffecompat.formats import SolverState, read_solverstate, write_solverstate
from caffecompat.formats.solverstate import NO_MINIMUM, parse_solverstate
from caffecompat.formats.weights import WeightBlob
from caffecompat.schema import caffe_pb2
from tests.formats.weight_samples import field, number, shape
from tests.support import REFERENCE, shared_file

RECORDED = sorted((REFERENCE / "training").glob("*/final.solverstate"))
assert len(RECORDED) >= 14
QUICK = "models/cifar10_quick_encodings/cifar10_quick_iter_5000.solverstate"
FULL = "models/cifar10_full_h5/cifar10_full_iter_100000.solverstate.h5"


def assert_same(ours: SolverState, proto: caffe_pb2.SolverState) -> None:
    """Compare with what protobuf itself reads."""
    for name, theirs in (
        ("iteration", proto.iter),
        ("learned_net", proto.learned_net),
        ("current_step", proto.current_step),
        ("minimum_loss", proto.minimum_loss),
        ("iter_last_event", proto.iter_last_event),
    ):
        assert getattr(ours, name) == theirs or theirs != theirs
    assert len(ours.history) == len(proto.history)
    for blob, theirs in zip(ours.history, proto.history, strict=True):
        legacy = theirs.HasField("num")
        sizes = (theirs.num, theirs.channels, theirs.height, theirs.width) if legacy else tuple(theirs.shape.dim)
        assert (blob.legacy, blob.array.shape, blob.array.dtype) == (legacy, sizes, np.float32)
        np.testing.assert_array_equal(blob.array.ravel(), np.array(theirs.data, np.float32))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.parent.name)
def test_the_originals_states_read_and_written_again(path, tmp_path):
    state = read_solverstate(path)
    assert state.iteration == 60
    assert state.learned_net == "final_iter_60.caffemodel"
    assert_same(state, caffe_pb2.SolverState.FromString(path.read_bytes()))
    write_solverstate(tmp_path / "again", state)
    assert (tmp_path / "again").read_bytes() == path.read_bytes()


def test_a_state_of_2014_has_shapes_of_four_sizes():
    state = read_solverstate(shared_file(QUICK))
    assert_same(state, caffe_pb2.SolverState.FromString(shared_file(QUICK).read_bytes()))
    assert (state.iteration, state.learned_net, state.current_step) == (5000, "cifar10_quick_iter_5000", 0)
    assert [blob.legacy for blob in state.history] == [True] * 10
    assert state.history[1].array.shape == (1, 1, 1, 32)
    # The schema's default: SSD's Caffe reads BVLC's states so.
    assert state.minimum_loss == NO_MINIMUM == caffe_pb2.SolverState().minimum_loss


def test_arrays_are_views_of_the_file_and_survive_its_removal(tmp_path):
    path = tmp_path / "a.solverstate"
    path.write_bytes(RECORDED[0].read_bytes())
    state = read_solverstate(path)
    assert all(not blob.array.flags.owndata for blob in state.history)
    os.unlink(path)
    gc.collect()
    assert np.isfinite(state.history[0].array).all()


# --- HDF5


def structure(path):
    """What an HDF5 file holds, as the original's HDF5 calls see it."""
    import h5py

    found = {}

    def note(name, item):
        if isinstance(item, h5py.Group):
            found[name] = "group"
            return
        kind = item.id.get_type()
        text = kind.get_class() == h5py.h5t.STRING
        values = item[()].tobytes() if not text else item[()]
        found[name] = (item.shape, kind.get_class(), kind.get_size(), text and kind.get_strpad(), values)

    with h5py.File(path, "r", locking=False) as file:
        file.visititems(note)
    return found


def test_hdf5_is_laid_out_as_the_originals_own_file(tmp_path):
    """That file is BVLC's; the SSD branch adds two numbers."""
    original = shared_file(FULL)
    state = read_solverstate(original)
    assert (state.iteration, state.current_step, len(state.history)) == (100000, 0, 8)
    assert state.learned_net == "examples/cifar10/cifar10_full_iter_100000.caffemodel.h5"
    assert state.minimum_loss == NO_MINIMUM
    assert state.iter_last_event == 0
    path = tmp_path / "again.h5"
    write_solverstate(path, replace(state, minimum_loss=0.5, iter_last_event=7), hdf5=True)
    ours, theirs = structure(path), structure(original)
    number_class, size = theirs["iter"][1:3]
    assert ours.pop("iter_last_event") == ((1,), number_class, size, False, np.int32(7).tobytes())
    minimum = ours.pop("minimum_loss")
    assert minimum[0] == (1,)
    assert minimum[4] == np.float32(0.5).tobytes()
    assert ours == theirs


@pytest.mark.parametrize("path", RECORDED[::4], ids=lambda path: path.parent.name)
def test_hdf5_and_binary_hold_the_same(path, tmp_path):
    state = read_solverstate(path)
    # By its content, not its name.
    target = tmp_path / "state.solverstate"
    write_solverstate(target, state, hdf5=True)
    again = read_solverstate(target)
    assert_same(again, caffe_pb2.SolverState.FromString(path.read_bytes()))


def test_what_is_written_may_be_of_any_size_layout_and_name(tmp_path):
    strided = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    state = SolverState(
        7,
        os.fsdecode(b"runs/\xff\xc3\xa9/net.caffemodel"),
        (WeightBlob(strided), WeightBlob(np.float32(3).reshape(())), WeightBlob(np.empty((0, 2), np.float32))),
        current_step=2,
        minimum_loss=1e300,
        iter_last_event=-5,
    )
    for hdf5 in (False, True):
        path = tmp_path / f"state{hdf5}"
        write_solverstate(path, state, hdf5)
        again = read_solverstate(path)
        assert (again.learned_net, again.iter_last_event, again.minimum_loss) == (state.learned_net, -5, np.inf)
        np.testing.assert_array_equal(again.history[0].array, strided)
        assert [blob.array.shape for blob in again.history] == [(4, 2, 3), (), (0, 2)]


@settings(max_examples=50, deadline=None)
@given(
    iteration=st.integers(0, 2**31 - 1),
    name=st.text(max_size=20).filter(lambda text: "\0" not in text),
    step=st.integers(-(2**31), 2**31 - 1),
    loss=st.floats(width=32, allow_nan=False),
    sizes=st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=4),
)
def test_the_bytes_are_those_of_protobuf(tmp_path_factory, iteration, name, step, loss, sizes):
    arrays = [np.arange(int(np.prod(size)), dtype=np.float32).reshape(size) for size in sizes]
    proto = caffe_pb2.SolverState(iter=iteration, learned_net=name, current_step=step)
    proto.minimum_loss, proto.iter_last_event = loss, step
    for array in arrays:
        blob = proto.history.add(data=array.ravel())
        if array.ndim:
            blob.shape.dim.extend(array.shape)
    path = tmp_path_factory.getbasetemp() / "state"
    state = SolverState(iteration, name, tuple(map(WeightBlob, arrays)), step, loss, step)
    write_solverstate(path, state)
    assert path.read_bytes() == proto.SerializeToString()
    assert_same(read_solverstate(path), proto)


def test_what_the_schema_accepts_is_accepted():
    """Later values win, as in protobuf; numbers of more than 32 bits lose what is above; others are passed over."""
    data = number(1, 5) + number(1, (1 << 40) + 7) + field(2, b"old") + field(2, b"new") + number(4, (1 << 64) - 1)
    minima = b"".join(b"\x2d" + np.float32(value).tobytes() for value in (3, 2))
    data += minima + field(9, b"of a fork") + field(3, shape(1) + b"\x2d" + np.float32(4).tobytes())
    state = parse_solverstate(data)
    assert_same(state, caffe_pb2.SolverState.FromString(data))
    assert (state.iteration, state.learned_net, state.current_step, state.minimum_loss) == (7, "new", -1, 2)
    assert state.history[0].array.tolist() == [4]


def test_double_values_become_float():
    data = caffe_pb2.SolverState(iter=1, history=[{"double_data": [0.1], "shape": {"dim": [1]}}]).SerializeToString()
    assert parse_solverstate(data).history[0].array == np.float32(0.1)


def test_a_state_that_cannot_be_written_leaves_the_old_one(tmp_path):
    path = tmp_path / "a.solverstate"
    path.write_bytes(b"old")
    state = read_solverstate(RECORDED[0])
    broken = replace(state, history=(*state.history, WeightBlob(np.array(["no number"]))))
    for hdf5 in (False, True):
        with pytest.raises((ValueError, TypeError)):
            write_solverstate(path, broken, hdf5)
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["a.solverstate"]


def test_the_hint_leads_from_weights_to_the_state():
    with pytest.raises(FormatError) as caught:
        read_solverstate(REFERENCE / "training" / "adam" / "final.caffemodel")
    assert caught.value.message == "expected a solver state, got weights"
    assert ".solverstate" in caught.value.hint
