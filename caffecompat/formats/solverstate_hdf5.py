"""Solver states in HDF5 (`.solverstate.h5`).

Source: SGDSolver::SnapshotSolverStateToHDF5, RestoreSolverStateFromHDF5 and Caffe's `hdf5.cpp`.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from caffecompat.errors import FormatError, context, quoted
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.hdf5 import Reader, hdf5_faults, import_h5py
from caffecompat.formats.solverstate import NO_MINIMUM, SolverState, float32
from caffecompat.formats.weights import WeightBlob

# No path is longer.
MAX_TEXT = 1 << 16
# As in a binary file: no net has so many parameters.
MAX_HISTORY = 100_000


def read_state(path: str | os.PathLike[str]) -> SolverState:
    """Read a solver state in HDF5; what BVLC's states lack may be absent.

    Links that lead out of the file or around in it are refused, as are datasets that claim more than is stored.

    Raises:
        FormatError: it is no solver state, or it is broken.
        UnsupportedError: h5py is not installed.
    """
    h5py = import_h5py()
    with context(file=os.fspath(path)), hdf5_faults(), h5py.File(path, "r", locking=False) as file:
        return _State(h5py, file, os.stat(path).st_size).read()


class _State:
    """Reads one file."""

    def __init__(self, h5py: Any, file: Any, size: int) -> None:
        self.h5py = h5py
        self.file = file
        self.reader = Reader(h5py, size)

    def read(self) -> SolverState:
        if "iter" not in self.file and "data" in self.file:
            hint = "weights alone start a new run; to go on with an old one, give the .solverstate.h5 beside them"
            raise FormatError("expected a solver state, got weights", hint=hint)
        iteration = int(self._number("iter", np.int32))
        if iteration < 0:
            raise FormatError(f"expected an iteration of at least 0, got {iteration}")
        return SolverState(
            iteration,
            self._text("learned_net") if "learned_net" in self.file else "",
            self._history(),
            int(self._number("current_step", np.int32)),
            float(self._number("minimum_loss", np.float32, NO_MINIMUM)),
            int(self._number("iter_last_event", np.int32, 0)),
        )

    def _member(self, group: Any, name: str, kind: Any) -> Any:
        if name not in group:
            raise FormatError(f"expected a solver state, found no {quoted(name)}", hint="is it Caffe's own file?")
        if group.get(name, getclass=True, getlink=True) is not self.h5py.HardLink:
            raise FormatError(f"{quoted(name)} leads to another place or file", hint="Caffe writes no such links")
        member = group[name]
        if not isinstance(member, kind):
            raise FormatError(f"expected {kind.__name__} {quoted(name)}, got {type(member).__name__}")
        return member

    def _number(self, name: str, dtype: type[np.generic], default: float | None = None) -> Any:
        """The number in a dataset of one."""
        if default is not None and name not in self.file:
            return default
        dataset = self._member(self.file, name, self.h5py.Dataset)
        kind = dataset.id.get_type().get_class()
        if dataset.shape not in ((), (1,)) or kind not in (self.h5py.h5t.INTEGER, self.h5py.h5t.FLOAT):
            raise FormatError(f"expected one number as {quoted(name)}, got {dataset.dtype} of shape {dataset.shape}")
        self.reader.check(dataset, quoted(name))
        return dataset.astype(dtype)[()].reshape(-1)[0]

    def _text(self, name: str) -> str:
        dataset = self._member(self.file, name, self.h5py.Dataset)
        kind = dataset.id.get_type()
        fixed = kind.get_class() == self.h5py.h5t.STRING and not kind.is_variable_str()
        if not fixed or dataset.shape not in ((), (1,)) or kind.get_size() > MAX_TEXT:
            raise FormatError(f"expected a text of fixed length as {quoted(name)}, got {dataset.dtype}")
        self.reader.check(dataset, quoted(name))
        raw = bytes(np.asarray(dataset[()]).reshape(-1)[0])
        return raw.split(b"\0")[0].decode("utf-8", "surrogateescape")

    def _history(self) -> tuple[WeightBlob, ...]:
        group = self._member(self.file, "history", self.h5py.Group)
        count = len(group)
        if count > MAX_HISTORY:
            raise FormatError(f"{count} arrays of history: no Caffe net has so many parameters")
        arrays = []
        for index in range(count):
            dataset = self._member(group, str(index), self.h5py.Dataset)
            with context(hint="the history in the state is damaged"):
                arrays.append(WeightBlob(self.reader.array(dataset, index)))
        return tuple(arrays)


def write_state(path: str | os.PathLike[str], state: SolverState) -> None:
    """Write a solver state in HDF5 so that the original Caffe loads it.

    Args:
        path: the file; it is replaced as a whole.
        state: what to write.

    Raises:
        UnsupportedError: h5py is not installed.
        CaffeCompatError: the file cannot be written.
    """
    h5py = import_h5py()
    with atomic_write(path) as target, context(file=os.fspath(path)), h5py.File(target, "w") as file:
        file.create_dataset("iter", data=np.array([state.iteration], "<i4"))
        _write_text(h5py, file, "learned_net", state.learned_net.encode("utf-8", "surrogateescape"))
        file.create_dataset("current_step", data=np.array([state.current_step], "<i4"))
        file.create_dataset("iter_last_event", data=np.array([state.iter_last_event], "<i4"))
        file.create_dataset("minimum_loss", data=float32(state.minimum_loss))
        history = file.create_group("history")
        for index, blob in enumerate(state.history):
            history.create_dataset(str(index), data=blob.array, dtype="<f4")


def _write_text(h5py: Any, file: Any, name: str, text: bytes) -> None:
    """Write a text that ends with a zero byte, as Caffe's reader needs it."""
    kind = h5py.h5t.C_S1.copy()
    kind.set_size(len(text) + 1)
    kind.set_strpad(h5py.h5t.STR_NULLTERM)
    dataset = h5py.h5d.create(file.id, name.encode(), kind, h5py.h5s.create(h5py.h5s.SCALAR))
    dataset.write(h5py.h5s.ALL, h5py.h5s.ALL, np.array(text, f"S{len(text) + 1}"), mtype=kind)
