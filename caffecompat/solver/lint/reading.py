"""What data layers read, looked at: the shapes, the first records, how many there are, and their labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from caffecompat.data.databases import Database, key_text, open_database
from caffecompat.data.lists import read_labelled
from caffecompat.data.source import Batch, Source
from caffecompat.data.stored import read_stored
from caffecompat.errors import CaffeCompatError, ShapeError
from caffecompat.graph.spec import LayerSpec, Shape
from caffecompat.layers.data import DataLayer
from caffecompat.solver.lint.asked import Asked
from caffecompat.solver.lint.findings import Finding, Rule
from caffecompat.solver.stored_boxes import StoredBoxes

UNREADABLE_DATA = Rule("unreadable-data", "error", "The first records of a source must be readable.")
DATA_SHAPE = Rule(
    "data-shape", "error", "Crop, mean_file and mean_value must fit the records, and the records one another."
)
RULES = (UNREADABLE_DATA, DATA_SHAPE)

# Records of which the values are read.
FIRST = 8
MAX_LABELS = 1 << 22


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
        batch: the first records.
        count: how many items there are, or None if that is not known.
        looked: in how many records labels were looked at.
        labels: the labels, by the number of the top.
        boxes: the boxes of the records that were looked at, if records hold boxes.
    """

    shapes: tuple[Shape, ...]
    batch: Batch
    count: int | None = None
    looked: int = 0
    labels: dict[int, Labels] = field(default_factory=dict)
    boxes: StoredBoxes | None = None

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
        batch = source.load(source.tickets()[:FIRST])
        read = Read(source.shapes(), batch, source.count())
        _look_at_labels(layer.spec, read, asked)
        return read
    except CaffeCompatError as error:
        layer.spec.locate(error)
        found.append((DATA_SHAPE if isinstance(error, ShapeError) else UNREADABLE_DATA).of(error))
        return None
    finally:
        if source is not None:
            source.close()


def _look_at_labels(spec: LayerSpec, read: Read, asked: Asked) -> None:
    """Note the labels: of the first records of a database, of all lines of a list, else of the first items."""
    if spec.type in ("Data", "AnnotatedData"):
        with open_database(spec.find(spec.message.data_param.source, "source")) as database:
            _look_into(database, read, asked.records, spec.message.annotated_data_param.HasField("anno_type"))
    elif spec.type == "ImageData":
        names, labels, _ = read_labelled(spec.find(spec.message.image_data_param.source, "source"))
        read.looked, read.labels[1] = len(names), Labels()
        for name, label in zip(names.names, labels, strict=True):
            read.labels[1].add(label, name)
    else:
        read.looked = len(read.batch.keys)
        read.labels = dict(_labels_in(read.batch, spec.type == "HDF5Data"))


def _look_into(database: Database, read: Read, most: int, typed: bool) -> None:
    """Note the boxes of the records, and the labels of those that hold none; `typed` if all are taken to hold boxes."""
    labels, boxes = Labels(), []
    for position in range(most if read.count is None else min(most, read.count)):
        key, record = database.read(position)
        with suppress(CaffeCompatError):
            stored = read_stored(record)
            if stored.boxes is not None and (stored.typed or typed):
                boxes.append((key_text(key), stored.boxes))
            else:
                labels.add(stored.datum.label, key_text(key))
            read.looked += 1
    read.labels[1] = labels
    read.boxes = StoredBoxes.of(boxes) if boxes else None


def _labels_in(batch: Batch, any_top: bool) -> Iterator[tuple[int, Labels]]:
    """The values of the tops that may be labels, by the number of the top; the first one is data as a rule."""
    for number, top in enumerate(batch.tops):
        if (number or any_top) and len(top) == len(batch.keys) and top.size <= MAX_LABELS:
            labels = Labels()
            for row, key in zip(top.reshape(len(top), -1), batch.keys, strict=True):
                for label in np.unique(row):
                    labels.add(float(label), key)
            yield number, labels
