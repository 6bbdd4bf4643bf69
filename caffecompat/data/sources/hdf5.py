"""HDF5Data: rows of data sets in HDF5 files, one data set for each top, by its name.

Source: hdf5_data_layer.cpp of BVLC, the same in the SSD branch but for several processes. Batches span the ends of
files. The original shuffles files and rows by the C library's rand(), which no seed of Caffe reaches; here a draw seeds
them. What it does not check, that files agree in the shape of a row, is checked.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import accumulate, groupby
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar

import numpy as np

from caffecompat.data.draws import Draws
from caffecompat.data.lists import checked_batch_size, find, read_names, restored
from caffecompat.data.order import Order, share
from caffecompat.data.source import Batch, Floats, Reading, Source, State, Ticket
from caffecompat.errors import CaffeCompatError, FormatError, context, did_you_mean, quoted
from caffecompat.formats.blob_proto import MAX_AXES
from caffecompat.formats.hdf5 import Reader, hdf5_faults, import_h5py
from caffecompat.graph.spec import LayerSpec, Shape

# Files that are held in memory: batches that are loaded at once lie in two where one file ends.
HELD = 2
# A data set may claim so many bytes however well it is compressed: labels are often all the same.
HARMLESS = 1 << 26

T = TypeVar("T")


class _File(NamedTuple):
    """One HDF5 file: its place in the list, its number of rows, and the shape of a row for each top."""

    path: Path
    rows: int
    shapes: tuple[Shape, ...]


class Hdf5Source(Source):
    """What `hdf5_data_param` names.

    Args:
        spec: the layer.
        reading: how to read.

    Raises:
        CaffeCompatError: the list or a file cannot be read, a file lacks a top's data set, the data sets of a file
            differ in their rows, or two files in the shape of a row.
    """

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        super().__init__(spec, reading)
        param = spec.message.hdf5_data_param
        if spec.message.HasField("transform_param"):
            raise spec.error("HDF5Data does not transform data", hint="drop transform_param")
        self._batch_size = checked_batch_size(spec, param.batch_size)
        if not param.source:
            raise spec.error("hdf5_data_param: source is missing")
        self._list = read_names(find(spec, reading, param.source, "source"))
        self._files: list[_File] = []
        for item in range(len(self._list)):
            self._files.append(self._inspected(item))
        ends = list(accumulate(file.rows for file in self._files))
        self._starts = [0, *ends[:-1]]
        self._order: Order | _Shuffled
        if param.shuffle:
            rank, world = share(spec, reading, ends[-1])
            own = [
                range(start + (rank - start) % world, end, world) for start, end in zip(self._starts, ends, strict=True)
            ]
            self._order = _Shuffled(own, Draws(reading.draws()))
        else:
            self._order = Order(ends[-1], spec, reading)
        self._lock = Lock()
        self._held: OrderedDict[int, tuple[Floats, ...]] = OrderedDict()

    def _inspected(self, item: int) -> _File:
        """A file of the list, after checking that it is as the others."""
        try:
            path = find(self.spec, self.reading, self._list.names[item], "HDF5 file")
            arrays = self._opened(path, _shape)
            rows = {shape[0] for shape in arrays}
            if len(rows) > 1:
                sizes = ", ".join(f"{key.name} {shape[0]}" for key, shape in zip(self.spec.tops, arrays, strict=True))
                raise FormatError(f"expected data sets of as many rows each, got {sizes}", file=path)
            if 0 in rows:
                raise FormatError("expected rows, got none", file=path)
            file = _File(path, arrays[0][0], tuple(shape[1:] for shape in arrays))
            first = self._files[0] if self._files else file
            if file.shapes != first.shapes:
                raise FormatError(
                    f"expected rows of the shapes {first.shapes}, as in {first.path}, got {file.shapes}", file=path
                )
            return file
        except CaffeCompatError as error:
            raise self._list.fault(item, error, self.spec) from error

    def _opened(self, path: Path, take: Callable[[Any], T]) -> list[T]:
        """What `take` takes from the data set of each top, after checking that the file holds it itself."""
        h5py = import_h5py()
        with context(file=path), hdf5_faults(), h5py.File(path, "r", locking=False) as file:
            reader = Reader(h5py, os.stat(path).st_size)
            return [take(_dataset(h5py, reader, file, key.name)) for key in self.spec.tops]

    def shapes(self) -> tuple[Shape, ...]:
        return tuple((self._batch_size, *shape) for shape in self._files[0].shapes)

    def tickets(self) -> tuple[Ticket, ...]:
        return tuple(Ticket(self._order.next()) for _ in range(self._batch_size))

    def load(self, tickets: Sequence[Ticket]) -> Batch:
        tops = tuple(np.empty((len(tickets), *shape), np.float32) for shape in self._files[0].shapes)
        keys = []
        done = 0
        for file, group in groupby((ticket.item for ticket in tickets), self._file_of):
            rows = [item - self._starts[file] for item in group]
            for top, values in zip(tops, self._values(file), strict=True):
                top[done : done + len(rows)] = values[rows]
            done += len(rows)
            keys += [f"{self._list.names[file]}#{row}" for row in rows]
        return Batch(tops, tuple(keys))

    def _file_of(self, item: int) -> int:
        """The file that holds a row, which is counted through all files."""
        return int(np.searchsorted(self._starts, item, "right")) - 1

    def _values(self, item: int) -> tuple[Floats, ...]:
        """The data sets of a file, whole, as in the original: float32, one for each top."""
        with self._lock:
            if item not in self._held:
                file = self._files[item]
                try:
                    values = tuple(self._opened(file.path, _float32))
                    if [array.shape for array in values] != [(file.rows, *shape) for shape in file.shapes]:
                        raise FormatError("the file changed while it was being read from", file=file.path)
                except CaffeCompatError as error:
                    raise self._list.fault(item, error, self.spec) from error
                self._held[item] = values
                if len(self._held) > HELD:
                    self._held.popitem(last=False)
            self._held.move_to_end(item)
            return self._held[item]

    def count(self) -> int:
        return sum(file.rows for file in self._files)

    def state(self) -> State:
        return self._order.state()

    def restore(self, state: State) -> None:
        restored(state, self._order.restore)

    def close(self) -> None:
        with self._lock:
            self._held.clear()


class _Shuffled:
    """Rows in a random order: the files in one, and the rows of each file in one when it is their turn.

    Args:
        own: for each file the numbers of those of its rows that are to be taken.
        draws: the generator that shuffles.
    """

    def __init__(self, own: Sequence[range], draws: Draws) -> None:
        self._own = own
        self._draws = draws
        self._files = draws.shuffled(len(own))
        self._place = 0
        self._enter()

    def _enter(self) -> None:
        """Shuffle the rows of the file whose turn it is."""
        self._before = self._draws.state()
        rows = self._own[self._files[self._place]]
        self._rows = [rows[place] for place in self._draws.shuffled(len(rows))]
        self._at = 0

    def next(self) -> int:
        """The number of the next row. When the last file ends, the files are shuffled again."""
        while self._at == len(self._rows):
            self._place += 1
            if self._place == len(self._files):
                self._place = 0
                self._files = [self._files[place] for place in self._draws.shuffled(len(self._files))]
            self._enter()
        self._at += 1
        return self._rows[self._at - 1]

    def state(self) -> State:
        """What decides the rows to come: the order of the files, and where the generator was before these rows."""
        return {"files": self._files, "file": self._place, "row": self._at, "draws": self._before}

    def restore(self, state: State) -> None:
        """Go on from where `state` was taken.

        Raises:
            ValueError: it is no state of such an order.
        """
        files, place, row = state["files"], state["file"], state["row"]
        if sorted(files) != list(range(len(self._own))) or place not in range(len(files)):
            raise ValueError(f"it is of a list of other files: {quoted(files)}")
        self._draws.restore(state["draws"])
        self._files, self._place = list(files), int(place)
        self._enter()
        if row not in range(len(self._rows) + 1):
            raise ValueError(f"row {quoted(row)} of a file of {len(self._rows)}")
        self._at = int(row)


def _dataset(h5py: Any, reader: Reader, file: Any, name: str) -> Any:
    """The data set of a top."""
    names = [key for key in file if isinstance(key, str)]
    if name not in names:
        hint = did_you_mean(name, names) or "the data sets of a file are named as the tops of the layer"
        raise FormatError(f"expected a data set {quoted(name)}, the file has {quoted(sorted(names))}", hint=hint)
    if file.get(name, getclass=True, getlink=True) is not h5py.HardLink:
        raise FormatError(f"{quoted(name)} leads to another place or file", hint="store the values in this file")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise FormatError(f"expected a data set {quoted(name)}, found a group")
    kind = dataset.id.get_type().get_class()
    if kind not in (h5py.h5t.FLOAT, h5py.h5t.INTEGER):
        raise FormatError(f"expected numbers in the data set {quoted(name)}, got {dataset.dtype}")
    if not dataset.shape or len(dataset.shape) > MAX_AXES:
        raise FormatError(
            f"expected 1 to {MAX_AXES} axes in the data set {quoted(name)}, the first for its rows, got {dataset.shape}"
        )
    reader.check(dataset, f"the data set {quoted(name)}", HARMLESS)
    return dataset


def _shape(dataset: Any) -> Shape:
    return tuple(int(size) for size in dataset.shape)


def _float32(dataset: Any) -> Floats:
    return np.asarray(dataset.astype(np.float32)[()], np.float32)
