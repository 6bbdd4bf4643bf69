"""Solver states (`.solverstate`, `.solverstate.h5`): what a solver goes on from, beside the weights.

Source: SGDSolver::SnapshotSolverStateToBinaryProto and RestoreSolverStateFromBinaryProto.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from caffecompat.errors import FormatError, context
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.blob_proto import read_blob
from caffecompat.formats.blob_writer import Parts, encode_blob, size_of, warn_of_size, write_parts
from caffecompat.formats.mapped import map_file
from caffecompat.formats.weight_files import HDF5_MAGIC, other_kind
from caffecompat.formats.weights import WeightBlob
from caffecompat.formats.wire import BYTES, FIXED32, VARINT, Buffer, Wire, encode_varint, signed, tag

# What the schema says of a state that has none, as BVLC's states.
NO_MINIMUM = float(np.float32(1e38))

_ITER, _LEARNED_NET, _HISTORY = tag(1, VARINT), tag(2, BYTES), tag(3, BYTES)
_CURRENT_STEP, _MINIMUM_LOSS, _ITER_LAST_EVENT = tag(4, VARINT), tag(5, FIXED32), tag(6, VARINT)
_LAST_FIELD = 6

_NET_FIELDS = (tag(1, BYTES), tag(100, BYTES))
_BLOB_FIELDS = (tag(2, VARINT), tag(5, BYTES))

_HINT = "give the .solverstate that training wrote beside the .caffemodel of the same iteration"
_WEIGHTS_HINT = f"weights alone start a new run; to go on with an old one, {_HINT}"


@dataclass(frozen=True)
class SolverState:
    """What a solver goes on from.

    Attributes:
        iteration: how many updates were made.
        learned_net: the path of the weights as it was when they were written, or "".
        history: what the update rule remembers of each parameter, float32, in Caffe's order; read from a binary
            file, views of the mapped file.
        current_step: how many steps the learning rate has come down.
        minimum_loss: the least smoothed loss so far (policy plateau; BVLC's states have none).
        iter_last_event: the iteration of the last new minimum or step (plateau). The original writes here whatever
            was in memory if the policy is another one.
    """

    iteration: int
    learned_net: str
    history: tuple[WeightBlob, ...]
    current_step: int = 0
    minimum_loss: float = NO_MINIMUM
    iter_last_event: int = 0


def read_solverstate(path: str | os.PathLike[str]) -> SolverState:
    """Read a solver state: HDF5 if it starts like one, else a binary SolverState.

    Arrays of a binary file are views of the mapped file, good as long as nobody overwrites it in place (see
    `map_file`).

    Raises:
        FormatError: the file cannot be read, is something else, or is broken.
        UnsupportedError: it is HDF5 and h5py is not installed.
    """
    with context(file=os.fspath(path)):
        data = map_file(path)
        if data[: len(HDF5_MAGIC)] == HDF5_MAGIC:
            from caffecompat.formats.solverstate_hdf5 import read_state

            return read_state(path)
        other = other_kind(data)
        if other is not None:
            raise FormatError(f"expected a solver state, got {other[0]}", hint=other[1] or _HINT)
        with context(hint="the file is damaged or incomplete, or it is no .solverstate"):
            return parse_solverstate(data)


def parse_solverstate(data: Buffer) -> SolverState:
    """The state in the bytes of a binary SolverState.

    Args:
        data: bytes, or a map of a file; the arrays are views of it.

    Raises:
        FormatError: the data is broken, or is another message.
    """
    wire = Wire(data)
    numbers = {_ITER: -1, _CURRENT_STEP: 0, _ITER_LAST_EVENT: 0}
    learned_net, minimum_loss = "", NO_MINIMUM
    history: list[WeightBlob] = []
    for key, value, start, end in wire.fields(0, wire.size):
        if key == _HISTORY:
            with context(hint="the history in the state is damaged"):
                history.append(read_blob(wire, start, end))
        elif key in numbers:
            numbers[key] = signed(value, 32)
            if key == _ITER and numbers[key] < 0:
                raise FormatError(f"expected an iteration of at least 0, got {numbers[key]}")
        elif key == _LEARNED_NET:
            learned_net = data[start:end].decode("utf-8", "surrogateescape")
        elif key == _MINIMUM_LOSS:
            # Several of them in a row come as one field; the last one counts.
            (minimum_loss,) = struct.unpack("<f", data[end - 4 : end])
        elif key >> 3 <= _LAST_FIELD or key in _NET_FIELDS:
            _refuse(key)
    if numbers[_ITER] < 0:
        raise FormatError("expected a solver state, found no iteration")
    return SolverState(
        numbers[_ITER], learned_net, tuple(history), numbers[_CURRENT_STEP], minimum_loss, numbers[_ITER_LAST_EVENT]
    )


def _refuse(key: int) -> NoReturn:
    """Name the message that has a field of this tag, where a SolverState has none."""
    if key in _NET_FIELDS:
        raise FormatError("expected a solver state, got weights", hint=_WEIGHTS_HINT)
    if key in _BLOB_FIELDS:
        raise FormatError("expected a solver state, got a single blob, such as a mean file", hint=_HINT)
    raise FormatError(f"expected a solver state, found field {key >> 3} of wire type {key & 7}")


def write_solverstate(path: str | os.PathLike[str], state: SolverState, hdf5: bool = False) -> None:
    """Write a solver state, the bytes that protobuf would write for it; the original Caffe loads them.

    The history is written from where it lies: no second copy of it is made.

    Args:
        path: the file; it is replaced as a whole.
        state: what to write.
        hdf5: write HDF5, as `snapshot_format: HDF5` does.

    Raises:
        UnsupportedError: h5py is needed and not installed.
        CaffeCompatError: the file cannot be written.
    """
    if hdf5:
        from caffecompat.formats.solverstate_hdf5 import write_state

        write_state(path, state)
        return
    name = state.learned_net.encode("utf-8", "surrogateescape")
    parts: Parts = [
        encode_varint(_ITER) + _encoded(state.iteration),
        encode_varint(_LEARNED_NET) + encode_varint(len(name)) + name,
    ]
    for blob in state.history:
        parts += encode_blob(_HISTORY, blob.array)
    parts += [
        encode_varint(_CURRENT_STEP) + _encoded(state.current_step),
        encode_varint(_MINIMUM_LOSS) + float32(state.minimum_loss).tobytes(),
        encode_varint(_ITER_LAST_EVENT) + _encoded(state.iter_last_event),
    ]
    warn_of_size(path, size_of(parts))
    with atomic_write(path) as file:
        write_parts(file, parts)


def _encoded(number: int) -> bytes:
    """An int32 as protobuf writes it."""
    return encode_varint(number & (1 << 64) - 1)


def float32(number: float) -> npt.NDArray[np.float32]:
    """The number as Caffe's float holds it, infinite if it is too large; an array of one."""
    with np.errstate(all="ignore"):
        return np.array([number], "<f4")
