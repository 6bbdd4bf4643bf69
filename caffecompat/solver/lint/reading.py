"""What data layers read, looked at: the shapes, the first records, how many there are, and their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from caffecompat.data.databases import Database, key_text, open_database
from caffecompat.data.lists import read_labelled, read_names
from caffecompat.data.source import Batch, Source
from caffecompat.data.stored import read_stored
from caffecompat.errors import CaffeCompatError, ShapeError
from caffecompat.formats import paths
from caffecompat.formats.hdf5 import import_h5py
from caffecompat.graph.spec import LayerSpec, Shape
from caffecompat.layers.data import DataLayer
from caffecompat.solver.lint.asked import Asked, beside
from caffecompat.solver.lint.findings import Finding, Rule

UNREADABLE_DATA = Rule("unreadable-data", "error", "The first records of a source must be readable.")
DATA_SHAPE = Rule(
    "data-shape", "error", "Crop, mean_file and mean_value must fit the records, and the records one another."
)
RULES = (UNREADABLE_DATA, DATA_SHAPE)

# Records of which the values are read.
FIRST = 8
MAX_LABELS = 1 << 22
MAX_FILES = 1000


@dataclass
class Labels:
    """Labels that were met.

    Attributes:
        counts: how often each.
        first: the first record that has it.
    """

    counts: Counter[float] = field(default_factory=Counter)
    first: dict[float, str] = field(default_factory=dict)

    def add(self, label: float, key: str) -> None:
        """Note the label of a record."""
        self.counts[label] += 1
        self.first.setdefault(label, key)


@dataclass
class Read:
    """What was read of a data layer's source.

    Attributes:
        shapes: of the tops of a batch.
        batch: the first records, or None.
        count: how many items there are, or None if that is not known.
        looked: in how many records labels were looked at.
        labels: the labels, by the number of the top.
    """

    shapes: tuple[Shape, ...] = ()
    batch: Batch | None = None
    count: int | None = None
    looked: int = 0
    labels: dict[int, Labels] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all labels were looked at."""
        return self.count is not None and self.looked >= self.count


def look(layer: DataLayer, asked: Asked, found: list[Finding]) -> Read | None:
    """Look at what a layer reads.

    Args:
        layer: the layer; what it names is there.
        asked: how the check is asked for.
        found: takes what is wrong.

    Returns:
        What was read; None if the layer reads nothing by itself, or cannot.
    """
    source: Source | None = None
    try:
        source = layer.open_source(asked.reading())
        if source is None:
            return None
        read = Read(source.shapes())
        read.batch = source.load(source.tickets()[:FIRST])
        _count(layer.spec, read, asked)
        return read
    except CaffeCompatError as error:
        layer.spec.locate(error)
        found.append((DATA_SHAPE if isinstance(error, ShapeError) else UNREADABLE_DATA).of(error))
        return None
    finally:
        if source is not None:
            source.close()


def _count(spec: LayerSpec, read: Read, asked: Asked) -> None:
    """Note how many items there are, and their labels."""
    message = spec.message
    if spec.type in ("Data", "AnnotatedData"):
        with open_database(_path(spec, message.data_param.source, asked)) as database:
            _look_into(database, read, asked.records)
    elif spec.type == "ImageData":
        names, labels, _ = read_labelled(_path(spec, message.image_data_param.source, asked))
        read.count = read.looked = len(names)
        read.labels[1] = Labels()
        for name, label in zip(names.names, labels, strict=True):
            read.labels[1].add(label, name)
    elif spec.type in ("ImageLabelData", "BinLabelData"):
        param = message.image_label_data_param if spec.type == "ImageLabelData" else message.bin_label_data_param
        read.count = len(read_names(_path(spec, param.label_list_path, asked)))
    elif spec.type == "HDF5Data":
        read.count = _rows(_path(spec, message.hdf5_data_param.source, asked), spec.tops[0].name)
    if not read.labels and read.batch is not None:
        read.looked = len(read.batch.keys)
        read.labels = dict(_labels_in(read.batch, spec.type == "HDF5Data"))


def _look_into(database: Database, read: Read, most: int) -> None:
    """Count the records of a database; note the labels of those that hold no boxes."""
    if database.backend == "LMDB":
        # A LevelDB would have to be read through.
        read.count = database.count()
    labels = Labels()
    for position in range(most if read.count is None else min(most, read.count)):
        key, record = database.read(position)
        try:
            stored = read_stored(record)
        except CaffeCompatError:
            continue
        if stored.boxes is None:
            labels.add(stored.datum.label, key_text(key))
        read.looked += 1
    read.labels[1] = labels


def _labels_in(batch: Batch, any_top: bool) -> Iterator[tuple[int, Labels]]:
    """The values of the tops that may be labels, by the number of the top; the first one is data as a rule."""
    for number, top in enumerate(batch.tops):
        if (number or any_top) and len(top) == len(batch.keys) and top.size <= MAX_LABELS:
            labels = Labels()
            for row, key in zip(top.reshape(len(top), -1), batch.keys, strict=True):
                for label in np.unique(row):
                    labels.add(float(label), key)
            yield number, labels


def _rows(path: Path, top: str) -> int | None:
    """How many items the HDF5 files of a list hold; None if there are very many files."""
    files = read_names(path)
    if len(files) > MAX_FILES:
        return None
    h5py, rows = import_h5py(), 0
    for name in files.names:
        with h5py.File(paths.find(name, "file", beside=str(path)), "r") as file:
            rows += len(file[top])
    return rows


def _path(spec: LayerSpec, name: str, asked: Asked) -> Path:
    return paths.find(name, "source", root=asked.options.root, beside=beside(spec))
