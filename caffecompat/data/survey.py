"""A survey of a database: what its records are, how large, of which classes, and which are damaged."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from caffecompat.data.annotations import DIFFICULT, LABEL
from caffecompat.data.databases import key_text
from caffecompat.data.lmdb_file import Record
from caffecompat.data.stored import Stored, read_stored
from caffecompat.errors import CaffeCompatError

KEYS_SHOWN = 3
MAX_FAULTS = 100
_MAGIC = {b"\xff\xd8": "JPEG", b"\x89P": "PNG", b"BM": "BMP", b"GI": "GIF", b"RI": "WebP", b"II": "TIFF", b"MM": "TIFF"}


@dataclass(frozen=True)
class Looked:
    """One record, looked into.

    Attributes:
        key: its key.
        size: the bytes of key and value.
        stored: what it holds, or None if it is damaged.
        shape: (channels, height, width).
        kind: how its values are held: "raw bytes", "floats", "encoded JPEG", ...
        fault: what is wrong with it, or "".
    """

    key: bytes
    size: int
    stored: Stored | None = None
    shape: tuple[int, ...] = ()
    kind: str = ""
    fault: str = ""


def look(record: Record) -> Looked:
    """What a record holds; pictures are decoded, so that damaged ones are found."""
    key, value = record
    size = len(key) + len(value)
    try:
        stored = read_stored(value)
        return Looked(key, size, stored, stored.values().shape, _kind(stored))
    except CaffeCompatError as error:
        return Looked(key, size, fault=error.message)


def _kind(stored: Stored) -> str:
    datum = stored.datum
    if datum.encoded:
        return f"encoded {_MAGIC.get(bytes(datum.data[:2]), 'picture')}"
    return "raw bytes" if len(datum.data) else "floats"


@dataclass
class Survey:
    """What is known of the records that were added.

    Attributes:
        records: how many.
        size: their bytes, keys and values.
        kinds: how the values are held, and of how many records.
        shapes: (channels, height, width), and of how many records.
        labels: the classes, and of how many records; where records have boxes, of how many boxes.
        annotated: how many records are AnnotatedDatums.
        boxes: of those that say so, how many boxes they have, and how many records have so many.
        difficult: how many boxes are marked so.
        first: the first keys.
        last: the last key.
        damaged: how many records cannot be read.
        faults: of the first of those, the key and what is wrong.
    """

    records: int = 0
    size: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    shapes: Counter[tuple[int, ...]] = field(default_factory=Counter)
    labels: Counter[int] = field(default_factory=Counter)
    annotated: int = 0
    boxes: Counter[int] = field(default_factory=Counter)
    difficult: int = 0
    first: list[str] = field(default_factory=list)
    last: str = ""
    damaged: int = 0
    faults: list[tuple[str, str]] = field(default_factory=list)

    def add(self, looked: Looked) -> None:
        """Count a record."""
        self.records += 1
        self.size += looked.size
        self.last = key_text(looked.key)
        if len(self.first) < KEYS_SHOWN:
            self.first.append(self.last)
        if looked.stored is None:
            self.damaged += 1
            if len(self.faults) < MAX_FAULTS:
                self.faults.append((self.last, looked.fault))
            return
        self.kinds[looked.kind] += 1
        self.shapes[looked.shape] += 1
        boxes = looked.stored.boxes
        self.annotated += boxes is not None
        if boxes is None or not looked.stored.typed:
            self.labels[looked.stored.datum.label] += 1
            return
        self.boxes[len(boxes)] += 1
        self.labels.update(int(label) for label in boxes[:, LABEL])
        self.difficult += int((boxes[:, DIFFICULT] != 0).sum())

    @property
    def box_count(self) -> int:
        """The number of all boxes."""
        return sum(count * records for count, records in self.boxes.items())

    def as_json(self) -> dict[str, Any]:
        """All of it, as JSON holds it; counters as lists of objects, the most frequent first."""
        found: dict[str, Any] = {
            "records": self.records,
            "bytes": self.size,
            "first_keys": self.first,
            "last_key": self.last,
            "messages": {"Datum": self.records - self.damaged - self.annotated, "AnnotatedDatum": self.annotated},
            "kinds": [{"kind": kind, "records": count} for kind, count in self.kinds.most_common()],
            "shapes": [{"shape": list(shape), "records": count} for shape, count in self.shapes.most_common()],
            "labels": [{"label": label, "count": count} for label, count in sorted(self.labels.items())],
            "damaged": self.damaged,
            "faults": [{"key": key, "fault": fault} for key, fault in self.faults],
        }
        if self.boxes:
            found["annotation_type"] = "BBOX"
            found["boxes"] = {
                "all": self.box_count,
                "difficult": self.difficult,
                "per_record": [{"boxes": count, "records": records} for count, records in sorted(self.boxes.items())],
            }
        return found
