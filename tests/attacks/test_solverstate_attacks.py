"""Broken and hostile solver states: each is a FormatError, quickly and without much memory."""

from __future__ import annotations

import random
import time
from contextlib import suppress

import numpy as np
import pytest
from google.protobuf.message import DecodeError

from caffecompat.errors import CaffeCompatError, FormatError
from caffecompat.formats import read_solverstate
from caffecompat.formats.solverstate import parse_solverstate
from caffecompat.formats.wire import MAX_FIELDS
from caffecompat.schema import caffe_pb2
from tests.attacks.mutate import mutated
from tests.attacks.test_weights_attacks import OTHERS, SECONDS, refused
from tests.formats.weight_samples import BIAS, CONV, ENCODINGS, blob, field, number, shape, small_net, varint
from tests.support import REFERENCE

HISTORY = field(3, blob(CONV, "v2")) + field(3, blob(BIAS, "v1_unpacked"))
STATE = number(1, 60) + field(2, b"a.caffemodel") + HISTORY + number(4, 3) + b"\x2d" + bytes(4) + number(6, 55)


def test_cut_at_every_byte_no_value_is_invented(tmp_path):
    """Cut between two fields, a state is a shorter one; its history then is not that of the net."""
    path = tmp_path / "cut.solverstate"
    whole = parse_solverstate(STATE)
    accepted = 0
    for cut in range(len(STATE)):
        path.unlink(missing_ok=True)
        path.write_bytes(STATE[:cut])
        try:
            state = read_solverstate(path)
        except FormatError:
            continue
        accepted += 1
        assert state.iteration == 60
        for ours, theirs in zip(state.history, whole.history, strict=False):
            np.testing.assert_array_equal(ours.array, theirs.array)
    assert accepted == 6


BROKEN = {
    "a length beyond the file": (number(1, 1) + varint(3 << 3 | 2) + varint(1 << 40) + b"x", "claims 1099511627776"),
    "a name beyond the file": (number(1, 1) + varint(2 << 3 | 2) + varint(200) + b"x", "claims 200 bytes, 1 are left"),
    "a number without end": (b"\x08" + b"\xff" * 20, "more than 64 bits"),
    "too few values": (number(1, 1) + field(3, shape(2, 3) + field(5, bytes(20))), "expected 6 values, got 5"),
    "a product of 2^64": (number(1, 1) + field(3, shape(1 << 32, 1 << 32)), "expected 18446744073709551616 values"),
    "a huge empty array": (number(1, 1) + field(3, shape(0, 1 << 62)), "impossible shape"),
    "a negative size": (number(1, 1) + field(3, shape(-2) + field(5, bytes(8))), "negative size"),
    "a negative iteration": (number(1, (1 << 64) - 1), "an iteration of at least 0, got -1"),
    "no iteration": (field(2, b"a.caffemodel") + HISTORY, "found no iteration"),
    "a name that is a number": (number(1, 1) + number(2, 3), "a single blob"),
    "history of numbers": (number(1, 1) + number(3, 3), "found field 3 of wire type 0"),
    "a loss of 8 bytes": (number(1, 1) + b"\x29" + bytes(8), "found field 5 of wire type 1"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_files(case, tmp_path):
    data, message = BROKEN[case]
    path = tmp_path / "broken.solverstate"
    path.write_bytes(data)
    error = refused(read_solverstate, path)
    assert isinstance(error, FormatError)
    assert message in error.message
    assert error.file == str(path)
    assert error.hint


@pytest.mark.parametrize("case", sorted(set(OTHERS) - {"solver state"}))
def test_other_files_are_called_what_they_are(case, tmp_path):
    data, message = OTHERS[case]
    path = tmp_path / "given.solverstate"
    path.write_bytes(data)
    error = refused(read_solverstate, path)
    # An ONNX model's texts are taken for history, which they are not.
    assert case == "ONNX" or message in error.message
    assert error.file == str(path)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_weights_are_no_state(encoding, tmp_path):
    path = tmp_path / "given.caffemodel"
    path.write_bytes(small_net(encoding))
    assert refused(read_solverstate, path).message == "expected a solver state, got weights"
    path.write_bytes(small_net(encoding)[7:])
    assert "expected" in refused(read_solverstate, path).message


@pytest.mark.slow
def test_a_file_of_tiny_fields(tmp_path):
    path = tmp_path / "tiny.solverstate"
    path.write_bytes(field(2, b"") * (MAX_FIELDS + 1))
    assert "fields" in refused(read_solverstate, path).message


def test_what_is_accepted_of_mutated_files_is_what_protobuf_reads():
    compared, slowest = 0, 0.0
    for case in range(3000):
        data = mutated(random.Random(case), STATE)
        start = time.perf_counter()
        try:
            state = parse_solverstate(data)
        except CaffeCompatError:
            continue
        finally:
            slowest = max(slowest, time.perf_counter() - start)
        try:
            proto = caffe_pb2.SolverState.FromString(data)
        except DecodeError:
            # Protobuf reads also what we skip.
            continue
        assert (state.iteration, state.current_step) == (proto.iter, proto.current_step)
        for ours, theirs in zip(state.history, proto.history, strict=True):
            with np.errstate(all="ignore"):
                values = np.array(theirs.double_data or theirs.data, np.float64).astype(np.float32)
            np.testing.assert_array_equal(ours.array.ravel(), values)
        compared += 1
    assert compared > 300
    assert slowest < SECONDS


# ---------------------------------------------------------------------------
# HDF5


def whole(h5py, file):
    file["iter"] = np.array([5], np.int32)
    file["current_step"] = np.array([0], np.int32)
    file["learned_net"] = np.bytes_("a.caffemodel.h5")
    file["history/0"] = BIAS


def without_iteration(h5py, file):
    del file["iter"]


def without_history(h5py, file):
    del file["history"]


def weights(h5py, file):
    del file["iter"]
    file["data/conv/0"] = BIAS


def a_gap(h5py, file):
    file["history/2"] = BIAS


def negative(h5py, file):
    file["iter"][0] = -1


def many_numbers(h5py, file):
    del file["iter"]
    file["iter"] = np.arange(5)


def a_text_for_a_number(h5py, file):
    del file["iter"]
    file["iter"] = "5"


def a_group_for_a_number(h5py, file):
    del file["iter"]
    file.create_group("iter")


def a_number_for_the_name(h5py, file):
    del file["learned_net"]
    file["learned_net"] = 5


def a_long_name(h5py, file):
    del file["learned_net"]
    file.create_dataset("learned_net", (), "S1000000000")


def a_soft_link(h5py, file):
    file["history/1"] = h5py.SoftLink("/history/0")


def an_external_link(h5py, file):
    del file["iter"]
    file["iter"] = h5py.ExternalLink("/etc/passwd", "/")


def external_storage(h5py, file):
    del file["current_step"]
    file.create_dataset("current_step", (1,), "i4", external=[("/etc/passwd", 0, 4)])


def never_stored(h5py, file):
    file.create_dataset("history/1", (1 << 20, 1 << 20), "<f4", chunks=(1024, 1024))


def a_bomb(h5py, file):
    dataset = file.create_dataset("history/1", (1 << 24,), "<f4", chunks=(1 << 22,), compression="gzip")
    for start in range(0, 1 << 24, 1 << 22):
        dataset[start : start + (1 << 22)] = 0


def a_big_chunk(h5py, file):
    del file["iter"]
    dataset = file.create_dataset("iter", (1,), "<i4", chunks=(1 << 24,), maxshape=(None,), compression="gzip")
    dataset[:] = 0


def same_array_often(h5py, file):
    file["history/1"] = np.zeros(1 << 16, np.float32)
    for index in range(2, 100):
        file[f"history/{index}"] = file["history/1"]


HOSTILE = [
    without_iteration,
    without_history,
    weights,
    a_gap,
    negative,
    many_numbers,
    a_text_for_a_number,
    a_group_for_a_number,
    a_number_for_the_name,
    a_long_name,
    a_soft_link,
    an_external_link,
    external_storage,
    never_stored,
    a_bomb,
    a_big_chunk,
    same_array_often,
]


@pytest.mark.parametrize("change", HOSTILE, ids=lambda change: change.__name__)
def test_hostile_hdf5(change, tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "state.solverstate.h5"
    with h5py.File(path, "w") as file:
        whole(h5py, file)
    assert read_solverstate(path).iteration == 5
    with h5py.File(path, "a") as file:
        change(h5py, file)
    error = refused(read_solverstate, path)
    assert isinstance(error, FormatError)
    assert error.file == str(path)


def test_broken_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "state.solverstate.h5"
    with h5py.File(path, "w") as file:
        whole(h5py, file)
    data = path.read_bytes()
    for cut in range(8, len(data), 199):
        path.unlink()
        path.write_bytes(data[:cut])
        refused(read_solverstate, path)
    for case in range(200):
        path.unlink()
        path.write_bytes(mutated(random.Random(case), data))
        with suppress(CaffeCompatError):
            read_solverstate(path)


def test_the_recorded_states_mutated():
    data = (REFERENCE / "training" / "adam" / "final.solverstate").read_bytes()
    for case in range(300):
        with suppress(FormatError):
            parse_solverstate(mutated(random.Random(case), data))
